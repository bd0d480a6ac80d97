"""From places on the ground to pixels, and from windows to outlines."""

import math
from collections.abc import Iterable, Sequence

import shapely
from affine import Affine
from rasterio.warp import transform as warp_points

from services.core.boxes import BBox
from services.core.errors import GeoreferenceError, WindowError
from services.core.grid import Window, whole
from services.core.raster.gdal import gdal_settings, translated
from services.core.raster.georef import corners, parse_crs
from services.core.records import Affine6, Scene

#: Points along each side of a box that is carried into another projection.
_EDGE_STEPS = 20
#: No scene counts its longitudes further, whichever way it goes round; PROJ takes none beyond 573 degrees.
_FURTHEST = 540.0


def transform_points(crs: str, lons: Sequence[float], lats: Sequence[float]) -> tuple[list[float], list[float]]:
    """WGS84 degrees to (xs, ys) of a CRS; a point the projection has no place for becomes infinite.

    Raises:
        GeoreferenceError: The CRS is not of the Earth.
    """
    with gdal_settings(), translated(crs[:60], "no degrees of the Earth lead there", GeoreferenceError):
        xs, ys = warp_points("EPSG:4326", parse_crs(crs), list(lons), list(lats))
    return xs, ys


def pixel_at(scene: Scene, lon: float, lat: float) -> tuple[int, int]:
    """(row, col) of the pixel that holds a point in WGS84 degrees.

    Raises:
        WindowError: The point is outside the scene.
        GeoreferenceError: The scene is not of the Earth.
    """
    # A scene may count its longitudes from 0 to 360, or go on past the antimeridian.
    for turn in (0.0, 360.0, -360.0):
        xs, ys = transform_points(scene.crs, [lon + turn], [lat])
        if not (math.isfinite(xs[0]) and math.isfinite(ys[0])):
            continue
        col, row = ~Affine(*scene.transform) @ (xs[0], ys[0])
        if 0 <= row < scene.shape[0] and 0 <= col < scene.shape[1]:
            return math.floor(row), math.floor(col)
    raise WindowError(f"longitude {lon:g}, latitude {lat:g} is outside {scene.title}, which covers {scene.bbox}")


def window_of_bbox(scene: Scene, bbox: BBox) -> Window:
    """The pixels that a box of (west, south, east, north) in WGS84 degrees touches, cut at the scene's edge.

    The box's edges are followed point by point, because straight edges in degrees are bent in most projections.

    Raises:
        WindowError: The box and the scene share no pixel, or pixels at both ends of a scene that goes round the Earth.
        GeoreferenceError: The scene is not of the Earth.
    """
    west, south, east, north = bbox
    crosses = east < west  # the antimeridian
    east += 360.0 if crosses else 0.0
    steps = [step / _EDGE_STEPS for step in range(_EDGE_STEPS + 1)]
    lons = [west + (east - west) * x for x in steps for _ in steps]
    lats = [south + (north - south) * y for _ in steps for y in steps]
    found: list[Window] = []
    for turn in (0.0, 360.0, -360.0):
        turned = [(lon + turn, lat) for lon, lat in zip(lons, lats, strict=True) if abs(lon + turn) <= _FURTHEST]
        xs, ys = transform_points(scene.crs, *zip(*turned, strict=True)) if turned else ([], [])
        inverse = ~Affine(*scene.transform)
        places = [inverse @ (x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(x) and math.isfinite(y)]
        if not places:
            continue
        left, top = (math.floor(min(axis)) for axis in zip(*places, strict=True))
        right, bottom = (math.ceil(max(axis)) for axis in zip(*places, strict=True))
        window = Window(row_off=top, col_off=left, height=max(bottom - top, 1), width=max(right - left, 1))
        if window.intersects(whole(scene.shape)):
            found.append(window.clip(scene.shape))
        if found and not crosses:
            break
    if not found:
        raise WindowError(f"the box {list(bbox)} is outside {scene.title}, which covers {scene.bbox}")
    if not all(window.intersects(found[0]) for window in found):
        raise WindowError(
            f"the box {list(bbox)} crosses the antimeridian, where {scene.title} begins and ends; ask for one side and "
            "then for the other"
        )
    return found[0]


def window_footprints(transform: Affine6, windows: Iterable[Window]) -> list[shapely.Polygon]:
    """The outline of each window in the CRS of the transform; rotated grids give rotated outlines."""
    base = Affine(*transform)
    return [
        shapely.Polygon(corners(base @ Affine.translation(window.col_off, window.row_off), window.shape))
        for window in windows
    ]
