"""A part of a scene as a scene of its own: the same files, read where the part lies."""

import hashlib
import math

from affine import Affine

from services.core.grid import Window, whole
from services.core.raster.footprint import plan_footprint
from services.core.raster.georef import Place, parse_crs
from services.core.records import Part, Scene


def crop(scene: Scene, window: Window) -> Scene:
    """The part of a whole scene that a window covers; all of it is the scene itself.

    Args:
        scene: Not a part already.
        window: Inside the scene.
    """
    assert scene.part is None, "parts are cut from whole scenes"
    if window == whole(scene.shape):
        return scene
    transform = Affine(*scene.transform) @ Affine.translation(window.col_off, window.row_off)
    geometry, bbox = plan_footprint(Place(crs=parse_crs(scene.crs), transform=transform, shape=window.shape))
    told = f"{scene.digest} {window.row_off} {window.col_off} {window.height} {window.width}"
    return scene.model_copy(
        update={
            "digest": hashlib.sha256(told.encode()).hexdigest(),
            "part": Part(row_off=window.row_off, col_off=window.col_off, shape=scene.shape),
            "shape": window.shape,
            "transform": tuple(transform)[:6],
            "geometry": geometry,
            "bbox": bbox,
        }
    )


def crop_like(scene: Scene, other: Scene) -> Scene:
    """The part of a whole scene that `other` is of its own."""
    if other.part is None:
        return scene
    (row, col), (height, width) = other.origin, other.shape
    return crop(scene, Window(row_off=row, col_off=col, height=height, width=width))


def part_for(window: Window, shape: tuple[int, int], *, step_px: int, margin_px: int) -> Window:
    """The part to compute so that inside `window` all is as in a map of the whole scene.

    Args:
        window: What was asked.
        shape: (height, width) of the whole scene.
        step_px: Tiles and chips begin at whole multiples of this many pixels.
        margin_px: How far an answer may depend on what lies beside it.
    """
    seen = window.pad(margin_px)
    top, left = (step_px * math.floor(max(off, 0) / step_px) for off in (seen.row_off, seen.col_off))
    bottom, right = (step_px * math.ceil(end / step_px) for end in (seen.row_end, seen.col_end))
    return Window(row_off=top, col_off=left, height=bottom - top, width=right - left).clip(shape)
