"""Windows and tile grids: integers only, no I/O, nothing here knows a CRS."""

from collections.abc import Iterator
from dataclasses import dataclass

from services.core.errors import WindowError


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Window:
    """A pixel rectangle of one raster, half-open, never empty. May lie partly outside until clipped."""

    row_off: int
    col_off: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if self.height <= 0 or self.width <= 0:
            raise WindowError(f"empty window: {self.height} rows by {self.width} columns")

    @property
    def row_end(self) -> int:
        """One past the last row."""
        return self.row_off + self.height

    @property
    def col_end(self) -> int:
        """One past the last column."""
        return self.col_off + self.width

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    @property
    def size(self) -> int:
        """Pixels in one band."""
        return self.height * self.width

    def pad(self, px: int) -> "Window":
        """Grow by `px` on every side; the result may leave the raster."""
        return Window(
            row_off=self.row_off - px,
            col_off=self.col_off - px,
            height=self.height + 2 * px,
            width=self.width + 2 * px,
        )

    def clip(self, shape: tuple[int, int]) -> "Window":
        """The part inside a raster of (height, width).

        Raises:
            WindowError: No pixel is inside.
        """
        row_off, col_off = max(self.row_off, 0), max(self.col_off, 0)
        height = min(self.row_end, shape[0]) - row_off
        width = min(self.col_end, shape[1]) - col_off
        if height <= 0 or width <= 0:
            raise WindowError(f"{self} lies outside a raster of {shape[0]} by {shape[1]} pixels")
        return Window(row_off=row_off, col_off=col_off, height=height, width=width)

    def intersects(self, other: "Window") -> bool:
        """Whether the two share a pixel."""
        return (
            self.row_off < other.row_end
            and other.row_off < self.row_end
            and self.col_off < other.col_end
            and other.col_off < self.col_end
        )

    def shared(self, other: "Window") -> "Window":
        """The part of this window inside `other`.

        Raises:
            WindowError: The two share no pixel.
        """
        top, left = max(self.row_off, other.row_off), max(self.col_off, other.col_off)
        return Window(
            row_off=top,
            col_off=left,
            height=min(self.row_end, other.row_end) - top,
            width=min(self.col_end, other.col_end) - left,
        )

    def hull(self, other: "Window") -> "Window":
        """The smallest window that holds both."""
        top, left = min(self.row_off, other.row_off), min(self.col_off, other.col_off)
        return Window(
            row_off=top,
            col_off=left,
            height=max(self.row_end, other.row_end) - top,
            width=max(self.col_end, other.col_end) - left,
        )

    def within(self, outer: "Window") -> tuple[slice, slice]:
        """Slices that cut this window out of an array that holds `outer`.

        Raises:
            WindowError: This window is not inside `outer`.
        """
        row, col = self.row_off - outer.row_off, self.col_off - outer.col_off
        if row < 0 or col < 0 or row + self.height > outer.height or col + self.width > outer.width:
            raise WindowError(f"{self} is not inside {outer}")
        return slice(row, row + self.height), slice(col, col + self.width)


def whole(shape: tuple[int, int]) -> Window:
    """The window of a whole raster of (height, width)."""
    return Window(row_off=0, col_off=0, height=shape[0], width=shape[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class TileGrid:
    """Square tiles of `tile_px` laid on a raster from its first pixel; tiles at the far edges are smaller."""

    shape: tuple[int, int]
    tile_px: int

    def __post_init__(self) -> None:
        if self.tile_px <= 0 or min(self.shape) <= 0:
            raise WindowError(f"cannot lay tiles of {self.tile_px} px on {self.shape[0]} by {self.shape[1]} pixels")

    @property
    def rows(self) -> int:
        """Tile rows, edge row included."""
        return -(-self.shape[0] // self.tile_px)

    @property
    def cols(self) -> int:
        """Tile columns, edge column included."""
        return -(-self.shape[1] // self.tile_px)

    @property
    def size(self) -> int:
        """Tiles in all."""
        return self.rows * self.cols

    def window(self, row: int, col: int) -> Window:
        """Pixels of one tile.

        Raises:
            WindowError: The grid has no such tile.
        """
        if not (0 <= row < self.rows and 0 <= col < self.cols):
            raise WindowError(f"no tile ({row}, {col}) in a grid of {self.rows} by {self.cols}")
        return Window(
            row_off=row * self.tile_px, col_off=col * self.tile_px, height=self.tile_px, width=self.tile_px
        ).clip(self.shape)

    def heights(self) -> tuple[int, ...]:
        """Pixels down each tile row."""
        return _sides(self.shape[0], self.tile_px)

    def widths(self) -> tuple[int, ...]:
        """Pixels across each tile column."""
        return _sides(self.shape[1], self.tile_px)

    def band(self, row_start: int, row_stop: int) -> Window:
        """Pixels of the tile rows [row_start, row_stop), full width."""
        top = row_start * self.tile_px
        return Window(row_off=top, col_off=0, height=(row_stop - row_start) * self.tile_px, width=self.shape[1]).clip(
            self.shape
        )

    def tile_at(self, row_px: int, col_px: int) -> tuple[int, int]:
        """(row, col) of the tile that holds a pixel."""
        return row_px // self.tile_px, col_px // self.tile_px

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(row, col) of every tile in row-major order."""
        return ((row, col) for row in range(self.rows) for col in range(self.cols))


def _sides(length: int, tile_px: int) -> tuple[int, ...]:
    return tuple(min(tile_px, length - start) for start in range(0, length, tile_px))


def plan_chips(length: int, *, chip_px: int, stride_px: int) -> tuple[int, ...]:
    """Offsets of overlapping chips along one axis; the last is shifted inward, so every pixel is covered.

    A raster shorter than a chip gets one chip at 0, which its reader pads.
    The offsets depend on the raster alone, never on how the work is cut: that keeps maps seamless.

    Raises:
        WindowError: A stride that is not in 1..chip_px.
    """
    if not 0 < stride_px <= chip_px:
        raise WindowError(f"stride {stride_px} px must be between 1 and the chip's {chip_px} px")
    if length <= chip_px:
        return (0,)
    last = length - chip_px
    return (*range(0, last, stride_px), last)
