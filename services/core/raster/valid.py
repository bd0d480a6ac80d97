"""Which pixels mean something: nodata and finiteness, decided on numbers in memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.core.records import Band

Valid = NDArray[np.bool_]

#: Every value of these types is a float32.
_EXACT = frozenset({"uint8", "int8", "uint16", "int16", "float32"})
#: GDAL's own tolerance, because writers store nodata as decimal text that does not always come back exactly.
_FLOAT_TOLERANCE = 4 * float(np.finfo(np.float32).eps)


def is_exact(dtype: str) -> bool:
    """Whether float32 holds every value of this type as it is."""
    return dtype in _EXACT


def resolve_valid(
    bands: Sequence[Band], stored: Sequence[NDArray[Any]] | NDArray[Any], pixels: NDArray[np.float32]
) -> Valid | None:
    """Where any band differs from its nodata and all bands are finite; None where that is everywhere.

    Args:
        bands: The bands read.
        stored: (h, w) of each band in a type that holds every value exactly.
        pixels: (C, h, w) the same as float32.
    """
    valid = _differs(bands, stored)
    for band, layer in zip(bands, pixels, strict=True):
        # Only floats can be NaN; large numbers of float64 are infinite as float32.
        if band.dtype.startswith("float"):
            finite = np.isfinite(layer)
            if not finite.all():
                valid = finite if valid is None else valid & finite
    return valid


def _differs(bands: Sequence[Band], stored: Sequence[NDArray[Any]] | NDArray[Any]) -> Valid | None:
    """GDAL's rule for a dataset: a pixel is nodata only if every band says so."""
    if any(band.nodata is None for band in bands):
        return None
    valid: Valid | None = None
    for band, layer in zip(bands, stored, strict=True):
        here = _not_nodata(layer, band)
        valid = here if valid is None else valid | here
        if valid.all():  # the first band settles most windows
            return None
    return valid


def _not_nodata(layer: NDArray[Any], band: Band) -> Valid:
    nodata = band.nodata
    assert nodata is not None, "the caller has looked"
    different: Valid
    if np.isnan(nodata):
        different = ~np.isnan(layer)
    elif band.dtype.startswith("float"):
        low, high = _near(nodata, layer.dtype)
        different = (layer < low) | (layer > high)
    else:
        # Above 2**53 a float64 is as near as the record's own nodata comes.
        wide = layer.dtype.kind in "iu" and layer.dtype.itemsize == 8
        different = (layer.astype(np.float64) if wide else layer) != nodata
    return different


def _near(nodata: float, dtype: np.dtype[Any]) -> tuple[float, float]:
    """What counts as this nodata, within what the type can hold."""
    if np.isinf(nodata):
        return nodata, nodata
    room, limit = _FLOAT_TOLERANCE * abs(nodata), float(np.finfo(dtype).max)
    return max(nodata - room, -limit), min(nodata + room, limit)
