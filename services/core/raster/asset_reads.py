"""What has to be read of which file for some bands of a scene: decisions about coarse and fine files, and no file."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from services.core.grid import Window
from services.core.raster.valid import is_exact
from services.core.records import Asset, Band, Scene


@dataclass(frozen=True, slots=True)
class AssetRead:
    """The selected bands of one asset: one read call, so that a pixel-interleaved block is decoded once."""

    asset: int
    bidx: tuple[int, ...]
    rows: tuple[int, ...]  #: where each band goes in the output's first axis
    step: tuple[int, int]  #: scene pixels per asset pixel, (down, right)
    exact: bool  #: every stored value is a float32 as it is, so GDAL may convert


def plan_reads(scene: Scene, bands: Sequence[Band]) -> tuple[AssetRead, ...]:
    """One read per asset and dtype, in order of first use."""
    groups: dict[tuple[int, str], list[int]] = {}
    for row, band in enumerate(bands):
        groups.setdefault((band.asset, band.dtype), []).append(row)
    return tuple(
        AssetRead(
            asset=position,
            bidx=tuple(bands[row].bidx for row in rows),
            rows=tuple(rows),
            step=step_of(scene, scene.assets[position]),
            exact=is_exact(dtype),
        )
        for (position, dtype), rows in groups.items()
    )


def step_of(scene: Scene, asset: Asset) -> tuple[int, int]:
    """Scene pixels per asset pixel; open.py has made sure that it is a whole number."""
    height, width = scene.whole_shape
    return height // asset.shape[0], width // asset.shape[1]


def coarse(window: Window, step: tuple[int, int], shape: tuple[int, int]) -> tuple[Window, tuple[slice, slice]]:
    """The coarse pixels that cover a window, and the slices that cut the window out of their repetition."""
    down, right = step
    row, col = window.row_off // down, window.col_off // right
    inner = Window(
        row_off=row, col_off=col, height=-(-window.row_end // down) - row, width=-(-window.col_end // right) - col
    ).clip(shape)
    top, left = window.row_off - row * down, window.col_off - col * right
    return inner, (slice(top, top + window.height), slice(left, left + window.width))


def repeat(block: NDArray[Any], step: tuple[int, int]) -> NDArray[Any]:
    """Each pixel `step` times down and right: (..., h, w) -> (..., h*down, w*right)."""
    return block.repeat(step[0], axis=-2).repeat(step[1], axis=-1)
