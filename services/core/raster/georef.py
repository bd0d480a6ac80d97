"""Where a raster lies on the ground, and every way in which it may fail to say so."""

import math
from dataclasses import dataclass

import numpy as np
from affine import Affine
from rasterio.crs import CRS

from services.core.errors import GeoreferenceError, RequestError
from services.core.raster.facts import RasterFacts
from services.core.raster.gdal import GDAL_FAULTS, gdal_settings

Bounds = tuple[float, float, float, float]
#: How far rasters on one grid may lie apart, but for rounding.
HALF_PX = 0.5 + 1e-6
_SUPPLY = "supply --crs and --bounds if you know them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A grid on the ground."""

    crs: CRS
    transform: Affine
    shape: tuple[int, int]  #: (height, width)

    @property
    def pixel_m(self) -> float:
        """Side of a pixel in the CRS's own idea of a metre; only for a projected CRS."""
        return math.sqrt(abs(self.transform.determinant)) * float(self.crs.linear_units_factor[1])


def resolve_place(facts: RasterFacts, *, crs: str | None, bounds: Bounds | None) -> Place:
    """The file's own georeference, or the user's where the file has none; the two may not contradict each other.

    Rotated and south-up grids are as good as any other: a map gets its scene's transform.

    Args:
        facts: The file.
        crs: The user's, e.g. `EPSG:32631`.
        bounds: The user's, (left, bottom, right, top) in that CRS.

    Raises:
        GeoreferenceError: None, or one that cannot be placed, or two that differ.
        RequestError: The user's own makes no sense.
    """
    if facts.transform.is_identity:
        _refuse_sensor_geometry(facts)
    return Place(crs=_resolve_crs(facts, crs), transform=_resolve_transform(facts, bounds), shape=facts.shape)


def crs_text(crs: CRS) -> str:
    """`EPSG:n` where PROJ is sure of it, else WKT2."""
    epsg = crs.to_epsg(confidence_threshold=90)
    return str(crs.to_wkt(version="WKT2_2019")) if epsg is None else f"EPSG:{epsg}"


def parse_crs(text: str) -> CRS:
    """A CRS the user wrote.

    Raises:
        RequestError: PROJ does not know it.
    """
    try:
        with gdal_settings():
            return CRS.from_user_input(text)
    except GDAL_FAULTS as exc:
        raise RequestError(f"{text!r} is not a coordinate reference system; write for example EPSG:32631") from exc


def _refuse_sensor_geometry(facts: RasterFacts) -> None:
    for has, what in ((facts.has_gcps, "ground control points"), (facts.has_rpcs, "RPC coefficients")):
        if has:
            raise GeoreferenceError(f"{facts.href} is placed by {what} only; orthorectify it first, e.g. with gdalwarp")


def _resolve_crs(facts: RasterFacts, text: str | None) -> CRS:
    given = None if text is None else parse_crs(text)
    crs = facts.crs or given
    if crs is None:
        raise GeoreferenceError(f"{facts.href} has no coordinate reference system; {_SUPPLY}")
    if given is not None and crs != given:
        raise GeoreferenceError(
            f"{facts.href} says it is in {_short(crs)}, not {text}; leave --crs and --bounds out, or correct the file"
        )
    if not (crs.is_projected or crs.is_geographic):
        raise GeoreferenceError(
            f"{facts.href} is in a local or geocentric system that has no place on a map; reproject it first"
        )
    return crs


def _resolve_transform(facts: RasterFacts, bounds: Bounds | None) -> Affine:
    transform = facts.transform
    if not all(math.isfinite(value) for value in transform):
        raise GeoreferenceError(f"{facts.href} has a geotransform that is not finite; correct it with gdal_edit")
    if transform.is_identity:
        if bounds is None:
            raise GeoreferenceError(f"{facts.href} says nothing about where its pixels lie; {_SUPPLY}")
        return _fit(bounds, facts.shape)
    if transform.determinant == 0:
        raise GeoreferenceError(f"{facts.href} has a geotransform with pixels of no area; correct it with gdal_edit")
    if bounds is not None:
        _check_same_bounds(facts, bounds)
    return transform


def _fit(bounds: Bounds, shape: tuple[int, int]) -> Affine:
    left, bottom, right, top = bounds
    if not (all(math.isfinite(value) for value in bounds) and left < right and bottom < top):
        raise RequestError(f"--bounds {','.join(map(str, bounds))} is not left,bottom,right,top")
    return Affine((right - left) / shape[1], 0, left, 0, (bottom - top) / shape[0], top)


def _check_same_bounds(facts: RasterFacts, bounds: Bounds) -> None:
    xs, ys = zip(*corners(facts.transform, facts.shape), strict=True)
    own = (min(xs), min(ys), max(xs), max(ys))
    half_px = math.sqrt(abs(facts.transform.determinant)) / 2
    if any(abs(mine - theirs) > half_px for mine, theirs in zip(own, bounds, strict=True)):
        raise GeoreferenceError(
            f"{facts.href} says it covers {', '.join(f'{value:g}' for value in own)}, not the bounds given; "
            "leave --crs and --bounds out, or correct the file"
        )


def corners(transform: Affine, shape: tuple[int, int]) -> list[tuple[float, float]]:
    """(x, y) of the outer corners of the four corner pixels, around the raster."""
    height, width = shape
    return [transform @ point for point in ((0, 0), (width, 0), (width, height), (0, height))]


def apart_px(fine: Affine, shape: tuple[int, int], other: Affine, other_shape: tuple[int, int]) -> float:
    """How far the corners of two rasters lie apart along one axis, at most, in pixels of the first."""
    inverse = ~fine
    pairs = zip(corners(fine, shape), corners(other, other_shape), strict=True)
    offsets = (np.subtract(inverse @ one, inverse @ another) for one, another in pairs)
    return float(max(np.abs(offset).max() for offset in offsets))


def _short(crs: CRS) -> str:
    text = crs_text(crs)
    return text if text.startswith("EPSG:") else text.split('"')[1]
