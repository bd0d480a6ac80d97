"""From places on the ground to pixels, and from windows to outlines."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform as warp_points

from services.core.boxes import BBox
from services.core.errors import GeoreferenceError, WindowError
from services.core.grid import Window
from services.core.raster.gdal import NO_PLACE, gdal_settings, translated
from services.core.raster.georef import parse_crs
from services.core.raster.projjson import crs_projjson
from services.core.records import Scene

_DEGREES = "EPSG:4326"
#: Points along each side of a box that is carried into another projection, at first and at most.
_EDGE_STEPS, _MOST_STEPS = 20, 320
#: How much a scene's own box is widened, as a share of its sides: it was made from points of the scene's edge.
_MARGIN = 0.1
#: A share of a pixel that is only rounding: two windows that meet at a seam of the Earth do not overlap there.
_ROUNDING_PX = 1e-6
#: Projections in which the Earth is a band that can be unrolled on and on: y says the latitude alone.
_CYLINDRICAL = re.compile(
    r"mercator \(|pseudo mercator|equidistant cylindrical|cylindrical equal area|miller", re.IGNORECASE
)
_ACROSS_CYLINDERS = re.compile(r"transverse|oblique", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Band:
    """The Earth unrolled: x of one longitude, and how far one turn is."""

    lon: float
    x: float
    turn: float  #: in the CRS's units

    def unrolled(self, x: float, lon: float) -> float:
        """The x of this longitude among all that are whole turns apart: PROJ gives any of them."""
        expected = self.x + (lon - self.lon) / 360.0 * self.turn
        return x + self.turn * round((expected - x) / self.turn) if math.isfinite(x) else x


def transform_points(crs: str, lons: Sequence[float], lats: Sequence[float]) -> tuple[list[float], list[float]]:
    """WGS84 degrees to (xs, ys) of a CRS; a point the projection has no place for becomes infinite.

    Raises:
        GeoreferenceError: The CRS is not of the Earth.
    """
    with gdal_settings(), translated(crs[:60], "no degrees of the Earth lead there", GeoreferenceError):
        target = parse_crs(crs)
        try:
            xs, ys = warp_points(_DEGREES, target, list(lons), list(lats))
        except NO_PLACE:  # one point is enough
            xs, ys = zip(
                *(_transform_point(target, lon, lat) for lon, lat in zip(lons, lats, strict=True)), strict=True
            )
    return list(xs), list(ys)


def _transform_point(crs: CRS, lon: float, lat: float) -> tuple[float, float]:
    try:
        (x,), (y,) = warp_points(_DEGREES, crs, [lon], [lat])
    except NO_PLACE:
        return math.inf, math.inf
    return x, y


def spot_of(scene: Scene, lon: float, lat: float) -> tuple[float, float]:
    """(row, col) of a point in WGS84 degrees, in pixels from the scene's corner, fractions included.

    Raises:
        WindowError: The point is outside the scene.
        GeoreferenceError: The scene is not of the Earth.
    """
    for ((col, row),) in _turns(scene, [lon], [lat]):
        if 0 <= row < scene.shape[0] and 0 <= col < scene.shape[1]:
            return row, col
    raise WindowError(f"longitude {lon:g}, latitude {lat:g} is outside {scene.title}, which covers {scene.bbox}")


def window_of_bbox(scene: Scene, bbox: BBox) -> Window:
    """The pixels that a box of (west, south, east, north) in WGS84 degrees touches, cut at the scene's edge.

    The box is carried over as a net of points, because straight edges in degrees are bent in most projections; a finer
    net, until that changes no pixel.

    Raises:
        WindowError: The box and the scene share no pixel, or pixels at both ends of the scene and none between.
        GeoreferenceError: The scene is not of the Earth.
    """
    found = [window for part in _near_parts(scene, bbox) for window in _settled_windows(scene, part)]
    if not found:
        raise WindowError(f"the box {list(bbox)} is outside {scene.title}, which covers {scene.bbox}")
    joined, *others = sorted(found, key=lambda window: window.col_off)
    for window in others:
        if window.col_off > joined.col_end:
            raise WindowError(
                f"the box {list(bbox)} holds both ends of {scene.title} and not what lies between; where west and east "
                "are swapped, swap them back, else ask for one side and then for the other"
            )
        joined = joined.hull(window)
    return joined


def _near_parts(scene: Scene, bbox: BBox) -> list[BBox]:
    """The parts of a box that are near the scene: a net over half the Earth has no point in a small one.

    Longitudes may pass 180 degrees here. The whole box, where the scene's own is not known.
    """
    west, south, east, north = bbox
    east += 360.0 if east < west else 0.0  # over the antimeridian
    if scene.bbox is None:
        return [(west, south, east, north)]
    first, low, last, high = scene.bbox
    last += 360.0 if last < first else 0.0
    wide, tall = _MARGIN * (last - first), _MARGIN * (high - low)
    south, north = max(south, low - tall), min(north, high + tall)
    sides = [(max(west, first - wide + turn), min(east, last + wide + turn)) for turn in (-360.0, 0.0, 360.0)]
    return [(left, south, right, north) for left, right in sides if left <= right and south <= north]


def _settled_windows(scene: Scene, box: BBox) -> list[Window]:
    """What a net over the box encloses of the scene, once for each turn round the Earth that does."""
    steps, windows = _EDGE_STEPS, _net_windows(scene, box, _EDGE_STEPS)
    while steps < _MOST_STEPS:
        steps *= 2
        before, windows = windows, _net_windows(scene, box, steps)
        if windows == before:
            break
    return windows


def _net_windows(scene: Scene, box: BBox, count: int) -> list[Window]:
    west, south, east, north = box
    steps = [step / count for step in range(count + 1)]
    lons = [west + (east - west) * x for x in steps for _ in steps]
    lats = [south + (north - south) * y for _ in steps for y in steps]
    windows = (_window(places, scene.shape) for places in _turns(scene, lons, lats))
    return [window for window in windows if window is not None]


def _turns(scene: Scene, lons: Sequence[float], lats: Sequence[float]) -> Iterator[list[tuple[float, float]]]:
    """(col, row) of the points, fractions included, wherever they lie on a scene that may count longitudes anyhow.

    Some scenes count from 0 to 360, some go on past the antimeridian; points without a place are left out.
    """
    band = _band(scene.crs)
    for turn in (0.0,) if band is None else (0.0, 360.0, -360.0):
        xs, ys = _unrolled(scene.crs, band, [lon + turn for lon in lons], lats)
        inverse = ~Affine(*scene.transform)
        places = [inverse @ (x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(x) and math.isfinite(y)]
        if places:
            yield places


def _unrolled(
    crs: str, band: _Band | None, lons: Sequence[float], lats: Sequence[float]
) -> tuple[list[float], list[float]]:
    """As `transform_points`, but further round the Earth is further on: PROJ would begin anew on the other side."""
    if band is None:
        return transform_points(crs, lons, lats)
    xs, ys = transform_points(crs, [(lon + 180.0) % 360.0 - 180.0 for lon in lons], lats)
    return [band.unrolled(x, lon) for x, lon in zip(xs, lons, strict=True)], ys


@lru_cache(maxsize=32)
def _band(crs: str) -> _Band | None:
    """None: a projection in which nothing comes round again."""
    middle = 0.0
    if not parse_crs(crs).is_geographic:
        conversion = _conversion(crs_projjson(crs))
        method = str(conversion.get("method", {}).get("name", ""))
        if not _CYLINDRICAL.search(method) or _ACROSS_CYLINDERS.search(method):
            return None
        told = {parameter["name"]: parameter["value"] for parameter in conversion.get("parameters", ())}
        middle = float(told.get("Longitude of natural origin", 0.0))
    (west, x, east), _ = transform_points(crs, [middle - 90.0, middle, middle + 90.0], [0.0] * 3)
    return _Band(middle, x, 2 * (east - west))


def _conversion(projjson: dict[str, Any]) -> dict[str, Any]:
    """How degrees become metres, also of a CRS with heights, or with a shift to another datum."""
    for node in (projjson, *projjson.get("components", ()), projjson.get("source_crs", {})):
        if "conversion" in node:
            conversion: dict[str, Any] = node["conversion"]
            return conversion
    return {}


def _window(places: Sequence[tuple[float, float]], shape: tuple[int, int]) -> Window | None:
    """What points of (col, row) enclose of a raster; None: nothing."""
    (left, top), (right, bottom) = (tuple(pick(axis) for axis in zip(*places, strict=True)) for pick in (min, max))
    inside = min(right, shape[1] - left, bottom, shape[0] - top) > _ROUNDING_PX
    if not inside:
        return None
    row, col = math.floor(top), math.floor(left)
    return Window(
        row_off=row, col_off=col, height=max(math.ceil(bottom) - row, 1), width=max(math.ceil(right) - col, 1)
    ).clip(shape)
