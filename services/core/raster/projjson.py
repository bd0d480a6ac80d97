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
        projjson = CRS.from_user_input(crs).to_dict(projjson=True)
    except CRSError as exc:
        raise GeoreferenceError(f"{crs[:60]!r} is not a coordinate reference system; set the scene's CRS") from exc
    plain: dict[str, Any] = _without_ensembles(projjson)
    return plain


def _without_ensembles(node: Any) -> Any:
    """A datum where PROJ says either that or its ensemble, by what this process has looked up before.

    The same run would else give other bytes when it is resumed: a GeoTIFF's CRS comes with the plain datum.
    """
    if not isinstance(node, dict):
        return node
    plain = {name: _without_ensembles(value) for name, value in node.items()}
    ensemble = plain.pop("datum_ensemble", None)
    if ensemble is not None:
        kind = "GeodeticReferenceFrame" if "ellipsoid" in ensemble else "VerticalReferenceFrame"
        kept = {name: ensemble[name] for name in ("ellipsoid",) if name in ensemble}
        plain["datum"] = {"type": kind, "name": ensemble["name"].removesuffix(" ensemble"), **kept}
    return plain


def gdal_version() -> str:
    """E.g. `3.10.3`."""
    return str(rasterio.__gdal_version__)
