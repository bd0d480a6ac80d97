"""A CRS as PROJJSON, for GeoParquet; and which GDAL this is."""

from typing import Any

import rasterio
from rasterio.crs import CRS
from rasterio.errors import CRSError

from services.core.errors import GeoreferenceError


def crs_projjson(crs: str) -> dict[str, Any]:
    """PROJJSON of `EPSG:n` or WKT2.

    Raises:
        GeoreferenceError: Not a CRS that PROJ understands.
    """
    try:
        projjson: dict[str, Any] = CRS.from_user_input(crs).to_dict(projjson=True)
    except CRSError as exc:
        raise GeoreferenceError(f"{crs[:60]!r} is not a coordinate reference system; set the scene's CRS") from exc
    return projjson


def gdal_version() -> str:
    """E.g. `3.10.3`."""
    return str(rasterio.__gdal_version__)
