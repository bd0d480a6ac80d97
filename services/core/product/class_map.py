"""`map.tif`: one class value per pixel, 255 where nothing is known.

A threshold's map lies on the base raster and repeats each tile's class over its pixels; nodata is whole tiles there,
because a tile's mean already left its unusable pixels out. A classification's map has one pixel per tile, those of
edge tiles included, which therefore reach past the scene. A segmentation's map holds the class of each pixel.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from services.core.grid import Window
from services.core.product.spec import NODATA, ProductSpec
from services.core.raster.write import MapSpec
from services.core.unit import COMPUTED, MASKED, UnitBlock

ClassPixels = NDArray[np.uint8]


def plan_map(spec: ProductSpec) -> MapSpec:
    """What the writer must know; nothing of it depends on when, where or by how many the run was computed."""
    contract = spec.contract
    colors = {c.value: _rgb(c.color) for c in contract.classes}
    names = {f"class_{c.value}": c.name for c in contract.classes}
    return MapSpec(
        shape=spec.map_shape,
        repeat_px=spec.grid.tile_px if spec.on_tiles and not spec.tile_map else 1,
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
    """The block's part of the map, as `MapWriter` takes it: one pixel per tile where answers come per tile.

    A map of pixels comes in windows of bounded size, so that memory does not grow with the scene's width.

    Args:
        spec: Whose map.
        block: Some tile rows.
        classes: Their `tile_classes`.
    """
    rows, cols = block.state.shape
    if block.pixels is None:
        yield Window(row_off=block.row_start, col_off=0, height=rows, width=cols), classes
        return
    outer = spec.grid.band(block.row_start, block.row_start + rows)
    masked = [spec.grid.window(block.row_start + row, col) for row, col in np.argwhere(block.state == MASKED).tolist()]
    for strip, pixels in block.pixels:
        window = replace(strip, row_off=outer.row_off)
        for tile in masked:  # nodata, whatever an attempt left there
            if tile.intersects(window):
                pixels[tile.shared(window).within(window)] = NODATA
        yield window, pixels


def _rgb(color: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(color.removeprefix("#"))
    return red, green, blue
