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
from services.core.grid import Window, plan_chips
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
            normalise(tile.data, tile.valid, self.norm, out=chip[:, :height, :width])
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
        weights = ramp(self.chip_px)
        valid = None if all(tile.valid is None for tile in tiles) else np.ones(out.shape, np.bool_)
        for tile in tiles:  # row-major, whatever `out` is: each pixel adds its chips in one order
            shared = out.shared(tile.window)
            here, there = shared.within(out), shared.within(tile.window)
            total[:, *here] += tile.data[:, *there] * weights[there]
            weight[here] += weights[there]
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


def pick_class(probabilities: Tile) -> NDArray[np.uint8]:
    """(K, H, W) to (H, W): the likeliest class, the lower number on a tie, `CLASS_NODATA` where not valid."""
    best: NDArray[np.uint8] = np.argmax(probabilities.data, axis=0).astype(np.uint8)
    if probabilities.valid is not None:
        best[~probabilities.valid] = CLASS_NODATA
    return best


@lru_cache(maxsize=8)
def ramp(chip_px: int) -> Pixels:
    """(chip, chip) weights: distance to the nearest edge along each axis, multiplied; never 0."""
    line = np.minimum(np.arange(chip_px), np.arange(chip_px)[::-1]).astype(np.float32) + 0.5
    line /= line.max()
    return np.outer(line, line)
