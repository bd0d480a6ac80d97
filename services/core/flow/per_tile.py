"""The operators that answer once per tile: a classification network, its overlapping chips blended, and a plain mean.

Where tiles are smaller than chips, chips begin at every tile and a tile's answer is the mean of all chips that hold it.
docs/decisions/0005 says why, and what happens at the scene's edges.
"""

from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from services.core.aligned import empty_aligned
from services.core.errors import ContractError
from services.core.flow.mirror import fill_chip
from services.core.flow.operators import Need
from services.core.flow.predict import ramp
from services.core.flow.tile import Bench, Layer, Pixels, Tile
from services.core.grid import TileGrid, Window
from services.core.model.preprocess import Normalisation, normalise


@dataclass(frozen=True, slots=True)
class PredictTiles:
    """A network that gives one answer per chip: a layer of chips that begin every `stride_px`.

    Bands are the classes' probabilities, then the valid fraction of each of the chip's cells of `stride_px`, row-major:
    one, `valid_fraction`, where chips do not overlap. What a chip lacks (past the scene's edge, not valid) is filled
    with the mirror image of the rest.
    """

    model_digest: str
    classes: tuple[str, ...]
    norm: Normalisation
    chip_px: int
    stride_px: int
    name: ClassVar[str] = "predict-tiles"
    version: ClassVar[int] = 2

    def layer(self, inputs: tuple[Layer, ...]) -> Layer:
        if self.stride_px < 1 or self.chip_px % self.stride_px:
            raise ContractError(f"a chip of {self.chip_px} px is no whole number of tiles of {self.stride_px} px")
        source, across = inputs[0], self.chip_px // self.stride_px
        cells = [f"valid_fraction_{row}_{col}" for row in range(across) for col in range(across)]
        bands = (*self.classes, *(cells if across > 1 else ["valid_fraction"]))
        rows, cols = (1 + -(-max(side - self.chip_px, 0) // self.stride_px) for side in source.shape)
        return Layer(bands=bands, shape=(rows, cols), step=source.step * self.stride_px)

    def needs(self, out: Window, inputs: tuple[Layer, ...]) -> tuple[Need, ...]:
        return ((0, self._pixels(out).clip(inputs[0].shape)),)

    def compute(self, out: Window, tiles: tuple[Tile, ...], bench: Bench) -> Tile:
        source, overlapping = tiles[0], self.stride_px < self.chip_px
        pixels = source.data
        if overlapping:
            pixels = normalise(pixels, source.valid, self.norm, out=np.empty_like(pixels))
        chips = empty_aligned((out.size, len(pixels), self.chip_px, self.chip_px))  # else each batch would be copied
        fractions = np.zeros((out.size, self._across, self._across), np.float32)
        for index in range(out.size):
            chip = self._chip(out, index).shared(source.window)
            cut = chip.within(source.window)
            valid = None if source.valid is None else source.valid[cut]
            part = chips[index, :, : chip.height, : chip.width]
            if overlapping:
                part[:] = pixels[:, *cut]
            else:  # each pixel is in one chip: it is normalised on its way there
                normalise(pixels[:, *cut], valid, self.norm, out=part)
            fill_chip(chips[index], valid, held=part.shape[1:])
            fractions[index] = self._fractions(chip, source)
        usable = fractions.any(axis=(1, 2))
        answers = np.zeros((out.size, len(self.classes)), np.float32)
        if usable.any():
            answers[usable] = self._ask(chips if usable.all() else chips[usable], bench)
        data = np.concatenate([answers, fractions.reshape(out.size, -1)], axis=1).T  # (N, K + cells) -> (K + cells, N)
        return Tile(window=out, data=data.reshape(-1, *out.shape), valid=usable.reshape(out.shape))

    def _ask(self, chips: Pixels, bench: Bench) -> Pixels:
        """(N, K)."""
        answers = bench.predict(self.model_digest, chips)
        if answers.shape != (len(chips), len(self.classes)):
            raise ContractError(f"the network answered {answers.shape} to chips {chips.shape}; its package is wrong")
        return answers

    @property
    def _across(self) -> int:
        """Cells along one side of a chip."""
        return self.chip_px // self.stride_px

    def _pixels(self, chips: Window) -> Window:
        """The pixels of some chips, before the scene's edge cuts them."""
        px = self.stride_px
        return Window(
            row_off=chips.row_off * px,
            col_off=chips.col_off * px,
            height=(chips.height - 1) * px + self.chip_px,
            width=(chips.width - 1) * px + self.chip_px,
        )

    def _chip(self, chips: Window, index: int) -> Window:
        """Pixels of the chip at `index`, row-major, of some chips."""
        row, col = divmod(index, chips.width)
        return self._pixels(Window(row_off=chips.row_off + row, col_off=chips.col_off + col, height=1, width=1))

    def _fractions(self, chip: Window, source: Tile) -> Pixels:
        """(cells, cells): the usable part of each of a chip's cells; 0 for a cell outside the scene."""
        fractions = np.zeros((self._across, self._across), np.float32)
        grid = TileGrid(shape=chip.shape, tile_px=self.stride_px)
        if source.valid is None:
            fractions[: grid.rows, : grid.cols] = 1
            return fractions
        valid = source.valid[chip.within(source.window)]
        for row, col in grid:
            cell = grid.window(row, col)
            rows, cols = slice(cell.row_off, cell.row_end), slice(cell.col_off, cell.col_end)
            fractions[row, col] = np.count_nonzero(valid[rows, cols]) / cell.size
        return fractions


@dataclass(frozen=True, slots=True)
class BlendTiles:
    """One answer per tile from overlapping chips: their mean, weighted by how central the tile lies in each.

    A chip also counts by its usable part. Bands are the classes' probabilities and the tile's own `valid_fraction`.
    """

    classes: tuple[str, ...]
    shape: tuple[int, int]  #: (rows, cols) of tiles
    across: int  #: tiles along one side of a chip
    _singly: bool = False  #: ask for chips one by one: slower, but shared by any windows
    name: ClassVar[str] = "blend-tiles"
    version: ClassVar[int] = 2

    def layer(self, inputs: tuple[Layer, ...]) -> Layer:
        return Layer(bands=(*self.classes, "valid_fraction"), shape=self.shape, step=inputs[0].step)

    def needs(self, out: Window, inputs: tuple[Layer, ...]) -> tuple[Need, ...]:
        """Columns of chips, so that neighbouring windows of the same rows share them."""
        (rows, cols), before = inputs[0].shape, self.across - 1
        top, bottom = max(out.row_off - before, 0), min(out.row_end, rows)
        left, right = max(out.col_off - before, 0), min(out.col_end, cols)
        height = 1 if self._singly else bottom - top
        places = product(range(left, right), range(top, bottom, height))
        return tuple((0, Window(row_off=row, col_off=col, height=height, width=1)) for col, row in places)

    def compute(self, out: Window, tiles: tuple[Tile, ...], bench: Bench) -> Tile:
        del bench
        count, across = len(self.classes), self.across
        held = tiles[0].window.hull(tiles[-1].window)
        chips = np.empty((len(tiles[0].data), *held.shape), np.float32)  # (K + cells, rows, cols) of chips
        for tile in tiles:
            chips[:, *tile.window.within(held)] = tile.data
        usable = np.asarray(sum(chips[count:])) / across**2  # one by one: a reduction would order a single chip's anew
        total = np.zeros((count, *out.shape), np.float32)
        weight, fraction = np.zeros(out.shape, np.float32), np.zeros(out.shape, np.float32)
        for cell in reversed(range(across**2)):  # row-major over the chips of a tile: every tile adds them in one order
            row, col = divmod(cell, across)
            moved = Window(
                row_off=held.row_off + row, col_off=held.col_off + col, height=held.height, width=held.width
            )  # the tiles at this place in the chips held
            if not moved.intersects(out):
                continue
            both = moved.shared(out)
            here, there = both.within(out), both.within(moved)
            share = usable[there] * ramp(across)[row, col]
            total[:, *here] += chips[:count, *there] * share
            weight[here] += share
            fraction[here] = chips[count + cell][there]
        total /= np.where(weight > 0, weight, 1)
        return Tile(window=out, data=np.concatenate([total, fraction[None]]), valid=fraction > 0)


@dataclass(frozen=True, slots=True)
class TileMean:
    """Mean over a tile's valid pixels and all bands, times one constant: bands `score` and `valid_fraction`.

    Sums are taken in float64, row by row, and the mean is rounded once, to float32: the same number on any processor,
    however the scene is stored and whatever is not valid around the tile.
    """

    tile_px: int
    factor: float
    _small_integers: bool = False  #: of 16 bits at most, so that sums may be taken in a faster way
    name: ClassVar[str] = "tile-mean"
    version: ClassVar[int] = 2

    def layer(self, inputs: tuple[Layer, ...]) -> Layer:
        return _tile_layer(inputs[0], self.tile_px, ("score", "valid_fraction"))

    def needs(self, out: Window, inputs: tuple[Layer, ...]) -> tuple[Need, ...]:
        return ((0, _tile_pixels(out, self.tile_px, inputs[0].shape)),)

    def compute(self, out: Window, tiles: tuple[Tile, ...], bench: Bench) -> Tile:
        del bench
        data = np.zeros((2, out.size), np.float32)
        for index, part in enumerate(_parts(tiles[0], out, self.tile_px)):
            bands, usable, values = len(part.data), part.window.size, part.data
            if part.valid is not None:
                usable, values = int(np.count_nonzero(part.valid)), np.where(part.valid, values, np.float32(0))
            if usable:
                total = _sum_integers(values) if self._small_integers else float(_sum_rows(values).sum())
                data[0, index] = total / (usable * bands) * self.factor
            data[1, index] = usable / part.window.size
        return Tile(window=out, data=data.reshape(2, *out.shape), valid=(data[1] > 0).reshape(out.shape))


def _sum_rows(values: Pixels) -> NDArray[np.float64]:
    """(C, H) sums of the rows of (C, H, W): of each by itself, for how rows follow each other in memory varies."""
    sums: NDArray[np.float64] = values.sum(axis=-1, dtype=np.float64)
    return sums


#: Numbers below 2**16 are summed exactly in float32 this many at a time, in whatever order.
_EXACT_PX = 256
_ONES = np.ones(_EXACT_PX, np.float32)


def _sum_integers(values: Pixels) -> float:
    """Sum of (C, H, W) without converting the whole array to float64: short rows first, by BLAS, twice as fast."""
    width = values.shape[-1]
    starts = range(0, width, _EXACT_PX)
    parts = (values[..., start : start + _EXACT_PX] @ _ONES[: min(_EXACT_PX, width - start)] for start in starts)
    return sum(float(part.sum(dtype=np.float64)) for part in parts)


def _parts(source: Tile, out: Window, tile_px: int) -> list[Tile]:
    """Cut a tile that covers several tiles of the grid into one view per tile, row-major."""
    parts = []
    for row in range(out.row_off, out.row_end):
        for col in range(out.col_off, out.col_end):
            window = Window(row_off=row * tile_px, col_off=col * tile_px, height=tile_px, width=tile_px)
            window = window.shared(source.window)
            cut = window.within(source.window)
            valid = None if source.valid is None else source.valid[cut]
            parts.append(Tile(window=window, data=source.data[:, *cut], valid=valid))
    return parts


def _tile_layer(source: Layer, tile_px: int, bands: tuple[str, ...]) -> Layer:
    grid = TileGrid(shape=source.shape, tile_px=tile_px)
    return Layer(bands=bands, shape=(grid.rows, grid.cols), step=source.step * tile_px)


def _tile_pixels(out: Window, tile_px: int, shape: tuple[int, int]) -> Window:
    return Window(
        row_off=out.row_off * tile_px,
        col_off=out.col_off * tile_px,
        height=out.height * tile_px,
        width=out.width * tile_px,
    ).clip(shape)
