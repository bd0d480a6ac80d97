"""Every planned tile, exactly once: counted while the blocks stream past, refused where one is missing."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.core.errors import CoverageError
from services.core.product.spec import ProductSpec
from services.core.unit import COMPUTED, EMPTY, MASKED, UnitBlock

#: Masked tiles named in `item.json` and in the catalog's row; `manifest.json` names all.
NAMED_TILES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedTile:
    """A tile that could not be computed."""

    row: int
    col: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What became of the tiles of a product. planned = computed + empty + masked."""

    planned: int
    computed: int
    empty: int
    masked: int
    valid_fraction: float  #: share of the base raster's pixels that have an answer; masked tiles count as none
    masked_tiles: tuple[MaskedTile, ...]
    reused: int | None = None

    def summary(self, *, named: int | None = None) -> dict[str, Any]:
        """As JSON, with the first `named` masked tiles as [row, col, reason]; None: all."""
        counts = {"planned": self.planned, "computed": self.computed, "empty": self.empty, "masked": self.masked}
        if self.reused is not None:
            counts["reused"] = self.reused
        tiles = [[tile.row, tile.col, tile.reason] for tile in self.masked_tiles[:named]]
        return {**counts, "valid_fraction": self.valid_fraction, "masked_tiles": tiles}


class CoverageCount:
    """Check blocks on their way to the product, and count."""

    def __init__(self, spec: ProductSpec) -> None:
        self._spec = spec
        self._next_row = 0
        self._states = np.zeros(3, np.int64)
        self._valid_px = 0.0
        self._masked: list[MaskedTile] = []
        self._heights, self._widths = np.array(spec.grid.heights()), np.array(spec.grid.widths())

    def watch(self, blocks: Iterable[UnitBlock]) -> Iterator[UnitBlock]:
        """The same blocks, each checked first; call `finish` after the last.

        Raises:
            CoverageError: A block is missing, comes twice or out of order, or is not of this product.
        """
        for block in blocks:
            self._check(block)
            self._add(block)
            self._next_row = block.row_start + block.state.shape[0]
            yield block

    def finish(self) -> Coverage:
        """The counts, once every block has passed.

        Raises:
            CoverageError: The last rows are missing, or not one tile could be computed.
        """
        grid = self._spec.grid
        if self._next_row != grid.rows:
            raise self._missing(grid.rows)
        computed, empty, masked = (int(self._states[state]) for state in (COMPUTED, EMPTY, MASKED))
        if masked and not computed:
            raise CoverageError(f"no tile of {self._spec.scene.title} could be computed: {self._masked[0].reason}")
        return Coverage(
            planned=grid.size,
            computed=computed,
            empty=empty,
            masked=masked,
            valid_fraction=round(self._valid_px / (grid.shape[0] * grid.shape[1]), 6),
            masked_tiles=tuple(self._masked),
            reused=self._spec.reused,
        )

    def _check(self, block: UnitBlock) -> None:
        spec, rows = self._spec, block.state.shape[0]
        if block.row_start > self._next_row:
            raise self._missing(block.row_start)
        if block.row_start < self._next_row:
            raise CoverageError(
                f"run {spec.run.id}: tile row {block.row_start} comes after tile row {self._next_row - 1}; "
                "units must come once each, in row order."
            )
        if not rows or block.row_start + rows > spec.grid.rows or not self._fits(block):
            raise CoverageError(f"run {spec.run.id}: the unit at tile row {block.row_start} belongs to another run")
        if int(block.state.max()) > MASKED:
            raise CoverageError(f"run {spec.run.id}: the unit at tile row {block.row_start} is damaged; resume the run")

    def _fits(self, block: UnitBlock) -> bool:
        spec, tiles = self._spec, (block.state.shape[0], self._spec.grid.cols)
        found = (block.state.shape, block.valid_fraction.shape, block.answers.shape)
        if found != (tiles, tiles, (spec.answers, *tiles)):
            return False
        if block.pixels is None:
            return spec.on_tiles
        return (
            not spec.on_tiles
            and block.pixels.shape == spec.grid.band(block.row_start, block.row_start + tiles[0]).shape
        )

    def _add(self, block: UnitBlock) -> None:
        self._states += np.bincount(block.state.ravel(), minlength=3)
        heights = self._heights[block.row_start : block.row_start + block.state.shape[0]]
        answered = np.where(block.state == COMPUTED, block.valid_fraction, 0).astype(np.float64)
        self._valid_px += float(heights @ answered @ self._widths)
        for row, col in np.argwhere(block.state == MASKED).tolist():
            tile_row = block.row_start + row
            reason = block.reasons.get(f"{tile_row},{col}", "no reason was recorded")
            self._masked.append(MaskedTile(row=tile_row, col=col, reason=reason))

    def _missing(self, stop: int) -> CoverageError:
        first, grid = self._next_row, self._spec.grid
        rows = f"tile row {first} is" if stop - first == 1 else f"tile rows {first} to {stop - 1} are"
        return CoverageError(
            f"run {self._spec.run.id}: {rows} missing of {grid.rows} ({(stop - first) * grid.cols} tiles); nothing was "
            f"published; go on with: swath resume {self._spec.run.id}"
        )
