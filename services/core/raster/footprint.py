"""The outline of a raster in WGS84 degrees, as GeoJSON wants it, and the size of its pixels on the ground.

Source: RFC 7946, sections 3.1.9 (cut at the antimeridian) and 5.2 (a bbox across it has west > east),
https://www.rfc-editor.org/rfc/rfc7946.
"""

import math
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.warp import transform as warp_points

from services.core.boxes import BBox
from services.core.raster.gdal import GDAL_FAULTS, gdal_settings
from services.core.raster.georef import Place, crs_text
from services.core.raster.place import transform_points

Degrees = NDArray[np.float64]

_WGS84 = "EPSG:4326"
_EDGE_POINTS = 32  #: per edge; a 110 km edge is then straight to within a centimetre
_RADIUS_M = 6_371_008.8
_NO_WIDTH = 1e-12  #: in radii of the Earth, micrometres: cosines of 90 degrees are not quite 0
_DECIMALS = 7  #: about a centimetre


def plan_footprint(place: Place) -> tuple[dict[str, Any] | None, BBox | None]:
    """GeoJSON geometry and bbox, (west, south, east, north); both None off the Earth or off the map projection."""
    lonlat = _to_degrees(place, *_edge_pixels(place.shape))
    if lonlat is None or not np.isfinite(lonlat).all():
        return None, None
    ring = _unwrap(lonlat)
    turn = ring[-1, 0] - ring[0, 0]
    if abs(turn) > 180:
        ring = _close_over_pole(ring, turn, _pole_inside(place))
    south, north = float(ring[:, 1].min()), float(ring[:, 1].max())
    west, east = float(ring[:, 0].min()), float(ring[:, 0].max())
    shape = _split(shapely.make_valid(shapely.Polygon(ring)), west, east)
    if east - west >= 360 - 1e-9:
        bbox = (-180.0, south, 180.0, north)
    else:
        bbox = (_wrap(west, upper=False), south, _wrap(east, upper=True), north)
    geometry: dict[str, Any] = shapely.geometry.mapping(shape)
    return geometry, tuple(round(value, _DECIMALS) for value in bbox)  # type: ignore[return-value]  # four in, four out


def ground_gsd_m(place: Place) -> float:
    """Metres on the ground per pixel at the raster's centre.

    A projected CRS is believed where it tells the truth to 2 %: a 10 m UTM grid stays 10 m, and a Web Mercator pixel
    at 60 degrees north becomes half as large as it says.
    """
    nominal = place.pixel_m if place.crs.is_projected else None
    steps = _steps(place)
    if steps is None:
        return nominal if nominal is not None else _planet_gsd_m(place)
    measured = math.sqrt(float(np.linalg.norm(np.cross(*steps)))) * _RADIUS_M
    if nominal is not None and abs(measured / nominal - 1) <= 0.02:
        return nominal
    return measured


def ground_aspect(place: Place) -> float:
    """Width of a pixel on the ground per height, at the raster's centre, to 1 %: the Earth is taken for a sphere.

    1 on a pole itself, where no pixel of degrees has a width.
    """
    steps = _steps(place)
    if steps is None:
        a, b, _, d, e, _ = tuple(place.transform)[:6]
        shrink = 1.0 if place.crs.is_projected else math.cos(math.radians(_middle(place)[1]))
        steps = np.array([[a * shrink, d], [b * shrink, e]])
    width, height = np.linalg.norm(steps, axis=1).tolist()
    return float(width / height) if min(width, height) > _NO_WIDTH else 1.0


def _planet_gsd_m(place: Place) -> float:
    """Degrees to metres where WGS84 has no meaning: by the sphere the CRS names, at the raster's middle latitude."""
    radius = float(place.crs.to_dict(projjson=True)["datum"]["ellipsoid"].get("radius", _RADIUS_M))
    _, lat = _middle(place)
    per_unit = float(place.crs.units_factor[1]) * radius
    return math.sqrt(abs(place.transform.determinant) * math.cos(math.radians(lat))) * per_unit


def _middle(place: Place) -> tuple[float, float]:
    x, y = place.transform @ (place.shape[1] / 2, place.shape[0] / 2)
    return x, y


def _steps(place: Place) -> NDArray[np.float64] | None:
    """(2, 3): a pixel to the right and one down at the centre, in radii of the Earth; None where it is not the Earth's.

    In space, for poles are no exception.
    """
    height, width = place.shape
    cols, rows = np.array([-0.5, 0.5, 0, 0]) + width / 2, np.array([0, 0, -0.5, 0.5]) + height / 2
    lonlat = _to_degrees(place, cols, rows)
    if lonlat is None or not np.isfinite(lonlat).all():
        return None
    lon, lat = np.radians(lonlat).T
    points = np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    steps: NDArray[np.float64] = points[1::2] - points[::2]
    return steps


def _edge_pixels(shape: tuple[int, int]) -> tuple[Degrees, Degrees]:
    """(cols, rows) around the outer edge, closed."""
    along = np.linspace(0, 1, _EDGE_POINTS, endpoint=False)
    zero, one = np.zeros_like(along), np.ones_like(along)
    cols = np.concatenate([along, one, 1 - along, zero, [0]]) * shape[1]
    rows = np.concatenate([zero, along, one, 1 - along, [0]]) * shape[0]
    return cols, rows


def _to_degrees(place: Place, cols: Degrees, rows: Degrees) -> Degrees | None:
    """(n, 2) lon, lat of pixel corners; None where the CRS is of another body."""
    points = [place.transform @ point for point in zip(cols.tolist(), rows.tolist(), strict=True)]
    try:
        with gdal_settings():
            lon, lat = warp_points(place.crs, _WGS84, [x for x, _ in points], [y for _, y in points])
    except GDAL_FAULTS:
        return None
    return np.column_stack([lon, np.clip(lat, -90, 90)])


def _unwrap(lonlat: Degrees) -> Degrees:
    """Longitudes without jumps; a step of more than half a turn is a crossing of the antimeridian."""
    return np.column_stack([np.unwrap(lonlat[:, 0], period=360), lonlat[:, 1]])


def _pole_inside(place: Place) -> float:
    """Latitude of the pole within the raster: +90 or -90."""
    (x,), (y,) = transform_points(crs_text(place.crs), [0.0], [90.0])
    if not (math.isfinite(x) and math.isfinite(y)):
        return -90.0
    col, row = ~place.transform @ (x, y)
    return 90.0 if 0 <= col <= place.shape[1] and 0 <= row <= place.shape[0] else -90.0


def _close_over_pole(ring: Degrees, turn: float, pole: float) -> Degrees:
    """A ring that runs once around the pole becomes an area: up to the pole, back along it, down again."""
    start = ring[0, 0]
    return np.vstack([ring, [[start + turn, pole], [start, pole], ring[0]]])


def _split(shape: Any, west: float, east: float) -> Any:
    """Cut into pieces between -180 and 180."""
    pieces = []
    for turn in range(math.floor((west + 180) / 360), math.ceil((east - 180) / 360) + 1):
        piece = shapely.intersection(shape, shapely.box(turn * 360 - 180, -90, turn * 360 + 180, 90))
        if piece.area > 0:
            pieces.append(shapely.transform(piece, lambda xy, turn=turn: xy - [turn * 360, 0]))
    union = shapely.set_precision(shapely.union_all(pieces), 10**-_DECIMALS)
    polygons = shapely.orient_polygons([p for p in shapely.get_parts(union) if p.geom_type == "Polygon"])
    return polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)


def _wrap(lon: float, *, upper: bool) -> float:
    """Into -180..180; an edge on the antimeridian stays on the side it belongs to."""
    wrapped = (lon + 180) % 360 - 180
    return 180.0 if upper and wrapped == -180 else wrapped
