"""The operators around a network: chips in, probabilities out, overlaps blended, classes picked.

Chips lie where the model's chip and stride put them on the scene, never where tiles or shards happen to be cut. That is
why a map has no seams and the same bytes for every tile size.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from services.core.errors import ContractError
from services.core.flow.operators import Need
from services.core.flow.tile import Bench, Layer, Pixels, Tile
from services.core.grid import TileGrid, Window, plan_chips
from services.core.model.preprocess import Normalisation, normalise

#: Class maps hold this where nothing is known; contracts keep their class values below it.
CLASS_NODATA = 255


@dataclass(frozen=True, slots=True)
class Predict:
    """A network over chips, probabilities per pixel; puts out chip windows only, `Blend` makes them a raster.

    A raster smaller than a chip is padded at its far edges with the training mean.
    """

    model_digest: str
    classes: tuple[str, ...]
    norm: Normalisation
    chip_px: int
    stride_px: int
    batch: int = 1  #: chips handed to the network at once; the executor groups them
    name: ClassVar[str] = "predict"
    version: ClassVar[int] = 1

    def layer(self, inputs: tuple[Layer, ...]) -> Layer:
        return Layer(bands=self.classes, shape=inputs[0].shape, step=inputs[0].step)

    def needs(self, out: Window, inputs: tuple[Layer, ...]) -> tuple[Need, ...]:
        del inputs
        return ((0, out),)

    def compute(self, out: Window, tiles: tuple[Tile, ...], bench: Bench) -> Tile:
        return self.compute_batch((out,), tiles, bench)[0]

    def compute_batch(self, outs: tuple[Window, ...], tiles: tuple[Tile, ...], bench: Bench) -> list[Tile]:
        """One tile per chip, in order."""
        chips = np.zeros((len(tiles), len(self.norm.gain), self.chip_px, self.chip_px), np.float32)
        for chip, tile in zip(chips, tiles, strict=True):
            height, width = tile.window.shape
            part = chip[:, :height, :width]
            part[:] = tile.data
            normalise(part, tile.valid, self.norm)
        answers = bench.predict(self.model_digest, chips)  # (N, K, chip, chip)
        if answers.shape != (len(tiles), len(self.classes), self.chip_px, self.chip_px):
            raise ContractError(f"the network answered {answers.shape} to chips {chips.shape}; its package is wrong")
        return [
            Tile(window=out, data=answer[:, : out.height, : out.width], valid=tile.valid)
            for out, answer, tile in zip(outs, answers, tiles, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Blend:
    """Overlapping chips averaged, each pixel weighted by its distance from the chip's edge.

    Source: overlap-tile, Ronneberger et al. 2015, figure 2, https://arxiv.org/abs/1505.04597; the weights are ours.
    """

    chip_px: int
    stride_px: int
    name: ClassVar[str] = "blend"
    version: ClassVar[int] = 1

    def layer(self, inputs: tuple[Layer, ...]) -> Layer:
        return inputs[0]

    def needs(self, out: Window, inputs: tuple[Layer, ...]) -> tuple[Need, ...]:
        height, width = inputs[0].shape
        rows = [r for r in self._offsets(height) if r < out.row_end and r + self.chip_px > out.row_off]
        cols = [c for c in self._offsets(width) if c < out.col_end and c + self.chip_px > out.col_off]
        chip = self.chip_px
        return tuple(
            (0, Window(row_off=r, col_off=c, height=chip, width=chip).clip((height, width))) for r in rows for c in cols
        )

    def compute(self, out: Window, tiles: tuple[Tile, ...], bench: Bench) -> Tile:
        del bench
        total = np.zeros((len(tiles[0].data), *out.shape), np.float32)
        weight = np.zeros(out.shape, np.float32)
        ramp = _ramp(self.chip_px)
        valid = None if all(tile.valid is None for tile in tiles) else np.ones(out.shape, np.bool_)
        for tile in tiles:  # row-major, whatever `out` is: each pixel adds its chips in one order
            shared = _shared(out, tile.window)
            here, there = shared.within(out), shared.within(tile.window)
            total[:, *here] += tile.data[:, *there] * ramp[there]
            weight[here] += ramp[there]
            if valid is not None and tile.valid is not None:
                valid[here] &= tile.valid[there]
        total /= weight
        return Tile(window=out, data=total, valid=valid)

    def _offsets(self, length: int) -> tuple[int, ...]:
        return plan_chips(length, chip_px=self.chip_px, stride_px=self.stride_px)


@dataclass(frozen=True, slots=True)
class Argmax:
    """The likeliest class of each pixel as one band, the lower number on a tie; `CLASS_NODATA` where not valid."""

    name: ClassVar[str] = "argmax"
    version: ClassVar[int] = 1

    def layer(self, inputs: tuple[Layer, ...]) -> Layer:
        return Layer(bands=("class",), shape=inputs[0].shape, step=inputs[0].step)

    def needs(self, out: Window, inputs: tuple[Layer, ...]) -> tuple[Need, ...]:
        del inputs
        return ((0, out),)

    def compute(self, out: Window, tiles: tuple[Tile, ...], bench: Bench) -> Tile:
        del bench
        best = pick_class(tiles[0]).astype(np.float32)
        return Tile(window=out, data=best[None], valid=tiles[0].valid)


@dataclass(frozen=True, slots=True)
class PredictTiles:
    """A network that gives one answer per tile: a layer on the tile grid, one pixel a tile.

    Bands are the classes' probabilities and `valid_fraction`. Edge tiles are padded with the training mean.
    """

    model_digest: str
    classes: tuple[str, ...]
    norm: Normalisation
    tile_px: int
    name: ClassVar[str] = "predict-tiles"
    version: ClassVar[int] = 1

    def layer(self, inputs: tuple[Layer, ...]) -> Layer:
        return _tile_layer(inputs[0], self.tile_px, (*self.classes, "valid_fraction"))

    def needs(self, out: Window, inputs: tuple[Layer, ...]) -> tuple[Need, ...]:
        return ((0, _tile_pixels(out, self.tile_px, inputs[0].shape)),)

    def compute(self, out: Window, tiles: tuple[Tile, ...], bench: Bench) -> Tile:
        source, px = tiles[0], self.tile_px
        chips = np.zeros((out.size, len(self.norm.gain), px, px), np.float32)  # (N, C, px, px)
        fraction = np.ones(out.size, np.float32)
        for index, (chip, part) in enumerate(zip(chips, _parts(source, out, px), strict=True)):
            inner = chip[:, : part.window.height, : part.window.width]
            inner[:] = part.data
            normalise(inner, part.valid, self.norm)
            if part.valid is not None:
                fraction[index] = np.count_nonzero(part.valid) / part.window.size
        answers = bench.predict(self.model_digest, chips)  # (N, K)
        if answers.shape != (out.size, len(self.classes)):
            raise ContractError(f"the network answered {answers.shape} to chips {chips.shape}; its package is wrong")
        data = np.concatenate([answers, fraction[:, None]], axis=1).T  # (N, K + 1) -> (K + 1, N)
        return Tile(window=out, data=data.reshape(-1, *out.shape), valid=(fraction > 0).reshape(out.shape))


@dataclass(frozen=True, slots=True)
class TileMean:
    """Mean over a tile's valid pixels and all bands, times one constant: bands `score` and `valid_fraction`.

    Sums are taken in float64 and the mean is rounded once, to float32.
    """

    tile_px: int
    factor: float
    name: ClassVar[str] = "tile-mean"
    version: ClassVar[int] = 1

    def layer(self, inputs: tuple[Layer, ...]) -> Layer:
        return _tile_layer(inputs[0], self.tile_px, ("score", "valid_fraction"))

    def needs(self, out: Window, inputs: tuple[Layer, ...]) -> tuple[Need, ...]:
        return ((0, _tile_pixels(out, self.tile_px, inputs[0].shape)),)

    def compute(self, out: Window, tiles: tuple[Tile, ...], bench: Bench) -> Tile:
        del bench
        data = np.zeros((2, out.size), np.float32)
        for index, part in enumerate(_parts(tiles[0], out, self.tile_px)):
            bands, usable = len(part.data), part.window.size
            total = _sum(part.data) if part.valid is None else float(part.data[:, part.valid].sum(dtype=np.float64))
            if part.valid is not None:
                usable = int(np.count_nonzero(part.valid))
            if usable:
                data[0, index] = total / (usable * bands) * self.factor
            data[1, index] = usable / part.window.size
        return Tile(window=out, data=data.reshape(2, *out.shape), valid=(data[1] > 0).reshape(out.shape))


def pick_class(probabilities: Tile) -> NDArray[np.uint8]:
    """(K, H, W) to (H, W): the likeliest class, the lower number on a tie, `CLASS_NODATA` where not valid."""
    best: NDArray[np.uint8] = np.argmax(probabilities.data, axis=0).astype(np.uint8)
    if probabilities.valid is not None:
        best[~probabilities.valid] = CLASS_NODATA
    return best


#: Numbers below 2**16 are summed exactly in float32 this many at a time, in whatever order: 8 and 16 bit imagery.
_EXACT_PX = 256
_ONES = np.ones(_EXACT_PX, np.float32)


def _sum(values: Pixels) -> float:
    """Sum of (C, H, W) in float64, without converting the whole array: short rows first, by BLAS, twice as fast."""
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
            window = _shared(window, source.window)
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


def _shared(a: Window, b: Window) -> Window:
    """The part of `a` inside `b`."""
    top, left = max(a.row_off, b.row_off), max(a.col_off, b.col_off)
    return Window(
        row_off=top,
        col_off=left,
        height=min(a.row_end, b.row_end) - top,
        width=min(a.col_end, b.col_end) - left,
    )


@lru_cache(maxsize=8)
def _ramp(chip_px: int) -> Pixels:
    """(chip, chip) weights: distance to the nearest edge along each axis, multiplied; never 0."""
    line = np.minimum(np.arange(chip_px), np.arange(chip_px)[::-1]).astype(np.float32) + 0.5
    line /= line.max()
    return np.outer(line, line)
