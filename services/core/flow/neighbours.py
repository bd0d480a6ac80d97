"""The operators that look around a pixel, as far as the halo that they declare."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from services.core.errors import ContractError
from services.core.flow.operators import Need
from services.core.flow.tile import Bench, Layer, Pixels, Tile
from services.core.grid import Window


@dataclass(frozen=True, slots=True)
class FocalMean:
    """Mean of the valid pixels in a square of 2 * radius_px + 1 around each pixel; declares that halo."""

    radius_px: int
    name: ClassVar[str] = "focal-mean"
    version: ClassVar[int] = 1

    def layer(self, inputs: tuple[Layer, ...]) -> Layer:
        if self.radius_px < 0:
            raise ContractError(f"a radius of {self.radius_px} px is not a neighbourhood")
        return inputs[0]

    def needs(self, out: Window, inputs: tuple[Layer, ...]) -> tuple[Need, ...]:
        return ((0, out.pad(self.radius_px).clip(inputs[0].shape)),)

    def compute(self, out: Window, tiles: tuple[Tile, ...], bench: Bench) -> Tile:
        del bench
        source, px = tiles[0], self.radius_px
        around = out.pad(px)
        values = np.zeros((len(source.data), *around.shape), np.float32)
        weight = np.zeros(around.shape, np.float32)
        inside = source.window.within(around)
        weight[inside] = source.mask()
        np.multiply(source.data, weight[inside], out=values[:, *inside], where=weight[inside] > 0)
        total, count = _box_sum(values, 2 * px + 1), _box_sum(weight[None], 2 * px + 1)[0]
        mean = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
        valid = None if source.valid is None else count > 0
        return Tile(window=out, data=mean, valid=valid)


def _box_sum(values: Pixels, size: int) -> Pixels:
    """Sum over size x size squares, (C, H, W) to (C, H - size + 1, W - size + 1).

    Shifted adds, not a running sum: each output pixel adds its own neighbours in the same order everywhere.
    """
    rows = values.shape[1] - size + 1
    total = values[:, :rows].copy()
    for shift in range(1, size):
        total += values[:, shift : shift + rows]
    cols = values.shape[2] - size + 1
    result = total[:, :, :cols].copy()
    for shift in range(1, size):
        result += total[:, :, shift : shift + cols]
    return result


@dataclass(frozen=True, slots=True)
class Apply:
    """An old function `f(array) -> array` as an operator: (C, H, W) in, (C', H, W) out, `halo_px` cut off again.

    It knows nothing of nodata, so what it makes of a pixel is valid only where nothing it looked at was nodata.
    """

    function: Callable[[Pixels], Pixels]
    label: str
    revision: str  #: yours to raise when the function's numbers change
    halo_px: int
    bands: tuple[str, ...]
    name: ClassVar[str] = "apply"
    version: ClassVar[int] = 2

    def layer(self, inputs: tuple[Layer, ...]) -> Layer:
        return Layer(bands=self.bands or inputs[0].bands, shape=inputs[0].shape, step=inputs[0].step)

    def needs(self, out: Window, inputs: tuple[Layer, ...]) -> tuple[Need, ...]:
        return ((0, out.pad(self.halo_px).clip(inputs[0].shape)),)

    def compute(self, out: Window, tiles: tuple[Tile, ...], bench: Bench) -> Tile:
        del bench
        source = tiles[0]
        full = out.pad(self.halo_px)
        margins = (
            (source.window.row_off - full.row_off, full.row_end - source.window.row_end),
            (source.window.col_off - full.col_off, full.col_end - source.window.col_end),
        )
        # The function always sees the halo it asked for: past the raster's edge, the edge repeated.
        values = np.pad(source.data, ((0, 0), *margins), mode="edge") if any(map(any, margins)) else source.data.copy()
        result = np.asarray(self.function(values), np.float32)
        if result.ndim != 3 or result.shape[1:] != full.shape:
            raise ContractError(
                f"{self.label} turned (C, H, W) = {values.shape} into {result.shape}; it must keep height and width"
            )
        if len(result) != (wanted := len(self.bands) or len(values)):
            raise ContractError(
                f"{self.label} turned {len(values)} bands into {len(result)}, where {wanted} are expected; name those "
                "it makes in `bands`"
            )
        valid = None
        if source.valid is not None:
            hidden = np.pad(~source.valid, margins, mode="edge").astype(np.float32)
            valid = _box_sum(hidden[None], 2 * self.halo_px + 1)[0] == 0
        return Tile(window=out, data=np.ascontiguousarray(result[:, *out.within(full)]), valid=valid)
