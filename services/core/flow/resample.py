"""Resampling to another GSD: area average going coarser, bilinear going finer, anchored at the scene's first pixel."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from services.core.errors import ContractError
from services.core.flow.operators import Need
from services.core.flow.tile import Bench, Layer, Pixels, Tile
from services.core.grid import Window

#: Many small weights in float32 add up to a little more or less than what they are.
_HALF = 0.5 - 1e-5


@dataclass(frozen=True, slots=True)
class Resample:
    """A grid whose pixels are `ratio` input pixels wide; invalid pixels have no weight.

    A pixel is valid when at least half of its weight comes from valid pixels. Each output pixel sums a fixed number of
    taps in a fixed order, so its bytes do not depend on the window it is computed in.
    """

    ratio: float
    name: ClassVar[str] = "resample"
    version: ClassVar[int] = 2

    def layer(self, inputs: tuple[Layer, ...]) -> Layer:
        source = inputs[0]
        if not 0 < self.ratio < math.inf:
            raise ContractError(f"cannot resample by {self.ratio}")
        height, width = (max(1, math.ceil(length / self.ratio - 1e-9)) for length in source.shape)
        return Layer(bands=source.bands, shape=(height, width), step=source.step * self.ratio)

    def needs(self, out: Window, inputs: tuple[Layer, ...]) -> tuple[Need, ...]:
        height, width = inputs[0].shape
        rows, _ = self._taps(out.row_off, out.height, height)
        cols, _ = self._taps(out.col_off, out.width, width)
        row_off, col_off = int(rows.min()), int(cols.min())
        window = Window(
            row_off=row_off,
            col_off=col_off,
            height=int(rows.max()) + 1 - row_off,
            width=int(cols.max()) + 1 - col_off,
        )
        return ((0, window),)

    def compute(self, out: Window, tiles: tuple[Tile, ...], bench: Bench) -> Tile:
        del bench
        source = tiles[0]
        # Taps outside the window that was read are those clipped at the raster's edge: the same for every window.
        rows, row_weight = self._taps(out.row_off, out.height, source.window.row_end)
        cols, col_weight = self._taps(out.col_off, out.width, source.window.col_end)
        rows, cols = rows - source.window.row_off, cols - source.window.col_off
        weight = source.mask().astype(np.float32)[None]  # (1, H, W)
        values = np.where(weight > 0, source.data, np.float32(0))
        total = _along_cols(_along_rows(values, rows, row_weight), cols, col_weight)
        share = _along_cols(_along_rows(weight, rows, row_weight), cols, col_weight)[0]
        data = np.divide(total, share, out=np.zeros_like(total), where=share > 0)
        valid = None if source.valid is None else share >= _HALF
        return Tile(window=out, data=data, valid=valid)

    def _taps(self, first: int, count: int, length: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """(count, taps) input positions inside [0, length), and weights that sum to 1 along each row."""
        start = (np.arange(first, first + count, dtype=np.float64))[:, None] * self.ratio
        if self.ratio >= 1:  # mean over the pixels that [start, start + ratio) covers, by how much it covers them
            taps = math.ceil(self.ratio) + 1
            index = np.floor(start).astype(np.int64) + np.arange(taps)
            weight = np.minimum(index + 1, start + self.ratio) - np.maximum(index, start)
            weight = np.where(index < length, np.clip(weight, 0, 1), 0)
        else:  # between the two nearest pixel centres
            centre = start + self.ratio / 2 - 0.5
            index = np.floor(centre).astype(np.int64) + np.arange(2)
            weight = 1 - np.abs(centre - index)
        weight = weight / weight.sum(axis=1, keepdims=True)
        return np.clip(index, 0, length - 1), weight.astype(np.float32)


def _along_rows(values: Pixels, index: NDArray[np.int64], weight: NDArray[np.float32]) -> Pixels:
    """(C, H, W) and (h, taps) -> (C, h, W)."""
    total = values[:, index[:, 0]] * weight[:, 0, None]
    for tap in range(1, index.shape[1]):
        total += values[:, index[:, tap]] * weight[:, tap, None]
    return total


def _along_cols(values: Pixels, index: NDArray[np.int64], weight: NDArray[np.float32]) -> Pixels:
    """(C, h, W) and (w, taps) -> (C, h, w)."""
    total = values[:, :, index[:, 0]] * weight[:, 0]
    for tap in range(1, index.shape[1]):
        total += values[:, :, index[:, tap]] * weight[:, tap]
    return total
