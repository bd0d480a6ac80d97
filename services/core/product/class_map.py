"""`map.tif`: one class value per pixel, 255 where nothing is known.

A threshold's map lies on the base raster and repeats each tile's class over its pixels; nodata is whole tiles there,
because a tile's mean already left its unusable pixels out. A classification's map has one pixel per tile, those of
edge tiles included, which therefore reach past the scene. A segmentation's map holds the class of each pixel.
"""

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from services.core.grid import TileGrid, Window
from services.core.product.spec import NODATA, ProductSpec
from services.core.raster.write import MapSpec
from services.core.unit import COMPUTED, MASKED, UnitBlock

ClassPixels = NDArray[np.uint8]

#: Most pixel rows and columns expanded at once: a unit may be as tall as the scene where a file is one block, and is as
#: wide as the scene. Blocks of the map divide both for the usual tiles.
_BAND_PX = 1024
_PART_PX = 4096


def plan_map(spec: ProductSpec) -> MapSpec:
    """What the writer must know; nothing of it depends on when, where or by how many the run was computed."""
    contract = spec.contract
    colors = {c.value: _rgb(c.color) for c in contract.classes}
    names = {f"class_{c.value}": c.name for c in contract.classes}
    return MapSpec(
        shape=spec.map_shape,
        crs=spec.scene.crs,
        transform=spec.map_transform,
        dtype="uint8",
        descriptions=("class",),
        nodata=NODATA,
        colormap=colors,
        # Each tile of a threshold's map is one value, and nearest is many times faster than mode.
        resampling="mode" if contract.kind == "segmentation" else "nearest",
        tags={
            "TIFFTAG_SOFTWARE": "swath",
            "swath_model": contract.name,
            "swath_model_digest": spec.run.model_digest,
            "swath_scene_digest": spec.scene.digest,
            **names,
        },
    )


def tile_classes(spec: ProductSpec, block: UnitBlock) -> ClassPixels:
    """(rows, cols) class of each tile, the lower value on a tie; 255 where it was not computed."""
    threshold = spec.contract.threshold
    if spec.contract.kind == "threshold":
        assert threshold is not None, "the contract of a threshold has one"
        classes: ClassPixels = (block.answers[0] >= threshold).astype(np.uint8)
    else:
        classes = block.answers.argmax(axis=0).astype(np.uint8)
    classes[block.state != COMPUTED] = NODATA
    return classes


def map_parts(spec: ProductSpec, block: UnitBlock, classes: ClassPixels) -> Iterator[tuple[Window, ClassPixels]]:
    """The block's part of the map in windows of bounded size, so that memory does not grow with the scene's width.

    Args:
        spec: Whose map.
        block: Some tile rows.
        classes: Their `tile_classes`.
    """
    rows = block.state.shape[0]
    if block.pixels is not None:
        yield spec.map_window(block.row_start, block.row_start + rows), _without_masked(spec.grid, block)
    elif spec.tile_map:
        yield spec.map_window(block.row_start, block.row_start + rows), classes
    else:
        high, wide = (max(1, px // spec.grid.tile_px) for px in (_BAND_PX, _PART_PX))
        for top, left in itertools.product(range(0, rows, high), range(0, spec.grid.cols, wide)):
            part = classes[top : top + high, left : left + wide]
            yield _repeat(spec.grid, part, row=block.row_start + top, col=left)


def _repeat(grid: TileGrid, classes: ClassPixels, *, row: int, col: int) -> tuple[Window, ClassPixels]:
    """(rows, cols) of tiles from tile (row, col) on, as pixels; the far edges are cut off."""
    rows, cols = classes.shape
    px = grid.tile_px
    window = Window(row_off=row * px, col_off=col * px, height=rows * px, width=cols * px).clip(grid.shape)
    lines = classes.repeat(px, axis=1)[:, : window.width]
    return window, lines.repeat(px, axis=0)[: window.height]


def _without_masked(grid: TileGrid, block: UnitBlock) -> ClassPixels:
    """The block's pixels; those of masked tiles are nodata, whatever an attempt left there."""
    assert block.pixels is not None, "only a unit on pixels has some"
    if not block.masked:
        return block.pixels
    pixels = block.pixels.copy()
    outer = grid.band(block.row_start, block.row_start + block.state.shape[0])
    for row, col in np.argwhere(block.state == MASKED).tolist():
        pixels[grid.window(block.row_start + row, col).within(outer)] = NODATA
    return pixels


def _rgb(color: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(color.removeprefix("#"))
    return red, green, blue
