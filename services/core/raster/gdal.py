"""The border to GDAL: which files it may open, under which settings, and what its complaints mean here."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rasterio
from rasterio._err import (  # raised bare by warp and crs; rasterio has no public names for them
    CPLE_AppDefinedError,
    CPLE_BaseError,
)
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError

from services.core.errors import SwathError, UnreadableSceneError
from services.core.raster.sidecars import check_formats

#: All that can go wrong inside rasterio; CRSError is a ValueError, and GDAL's own classes share no base with the rest.
GDAL_FAULTS = (RasterioError, CPLE_BaseError, CRSError)

#: A point that a projection has no place for; a projection of no use at all is told by another class.
NO_PLACE = (CPLE_AppDefinedError,)

#: Held around every opening of a file, and by `block_cache` around a whole run.
_PROCESS_OPTIONS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE",  # look for .msk and .tfw by name: listing a folder of 50,000 files is slow
    "GDAL_NUM_THREADS": "1",  # we bring our own threads; OpenJPEG would start one per core in each of them
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "YES",  # a JPEG block cut short is damage, not grey pixels
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",  # no address is for GDAL, even if some text in a file led it to one
}


@contextmanager
def gdal_settings(**options: object) -> Iterator[None]:
    """Hold the settings all our GDAL calls need; extra options win.

    They hold in this thread, and in all if this is the main one; the cache's size is one for all: see `cache.py`.
    """
    with rasterio.Env(**{**_PROCESS_OPTIONS, **options}):
        yield


@contextmanager
def translated(
    what: str, remedy: str = "the file is damaged", into: type[SwathError] = UnreadableSceneError
) -> Iterator[None]:
    """Turn GDAL's complaint about `what` into one sentence of ours.

    Raises:
        UnreadableSceneError: Or the class given as `into`.
    """
    try:
        yield
    except GDAL_FAULTS as exc:
        raise into(f"{what}: {remedy} ({reason(exc)})") from exc


def reason(exc: BaseException) -> str:
    """GDAL's most specific line: rasterio hides it one cause down, and PROJ appends pages of JSON."""
    cause = exc.__cause__ or exc
    return " ".join(str(cause).split())[:160]


def open_raster(path: Path | str, driver: str) -> Any:
    """A dataset of one named driver, by absolute path, never shared between threads.

    A bare name such as `GTIFF_DIR:2:x.tif` or `/vsizip/x.zip` would be an instruction to GDAL; the caller has made sure
    that a regular file stands at `path`, and naming the driver keeps every other one from having a try. Nobody may ask
    a dataset that is not ours for `files` or overviews: see sidecars.py.

    Raises:
        UnreadableSceneError: The driver cannot make sense of it, or what lies beside it is for another driver.
    """
    check_formats(Path(path))
    with translated(str(path), "it cannot be opened; the file is damaged"), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # georef.py looks for itself, and refuses
        return rasterio.open(str(path), driver=driver, sharing=False)
