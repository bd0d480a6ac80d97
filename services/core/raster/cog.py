"""The one way this project makes a Cloud Optimized GeoTIFF, and a check that a file is one."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio.shutil
from numpy.typing import NDArray

from services.core.errors import StorageRefusedError, StorageUnavailableError, SwathError, UnreadableSceneError
from services.core.raster.gdal import GDAL_FAULTS, gdal_settings, open_raster, reason, translated
from services.core.raster.intact import check_blocks, check_mask
from services.core.storage.files import local_errors

Resampling = Literal["nearest", "mode", "average"]

BLOCK_PX = 512
_CHUNK_ROWS = 128


def make_cog(source: Path, target: Path, *, resampling: Resampling) -> None:
    """Rewrite a GeoTIFF as a COG with overviews; equal pixels and tags give equal bytes on any number of cores.

    Nobody sees half a file: it is made in a folder beside its place, where GDAL's own temporary files go too.

    Raises:
        StorageUnavailableError, StorageRefusedError: It cannot be written.
    """
    with writing(target), tempfile.TemporaryDirectory(prefix=".swath-", dir=target.parent) as folder:
        part = Path(folder) / "cog.tif"
        # Overviews pass through a temporary file, which is compressed unless told not to: half of all the time.
        # They are made from chunks as wide as the map: of a block's height, these were all that grew with its width.
        with gdal_settings(COG_TMP_COMPRESSION="NONE", GDAL_OVR_CHUNKYSIZE=_CHUNK_ROWS):
            rasterio.shutil.copy(
                str(source),
                str(part),
                driver="COG",
                BLOCKSIZE=BLOCK_PX,
                COMPRESS="DEFLATE",
                PREDICTOR="YES",
                OVERVIEW_RESAMPLING=resampling.upper(),
                BIGTIFF="IF_SAFER",
                NUM_THREADS="ALL_CPUS",
            )
        check_written(part)
        part.replace(target)


def check_written(path: Path) -> None:
    """Make sure that all of a file we wrote is on the disk: GDAL does not always report a full one.

    Raises:
        StorageUnavailableError: Some of it is not.
    """
    try:
        with gdal_settings(), open_raster(path, "GTiff") as dataset:
            check_blocks(dataset, path, sparse=False)
        check_mask(path)
    except UnreadableSceneError as exc:
        raise StorageUnavailableError(f"{path} could not be written in full; free some space and try again") from exc


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What GDAL and the system complain of while `path` is written, in our words.

    Raises:
        StorageRefusedError: Its folder takes no files.
        StorageUnavailableError: No space left, or the disk fails.
    """
    try:
        yield
    except GDAL_FAULTS as exc:  # first: rasterio's are OSErrors too, but without a number
        raise _meaning(path, exc) from exc
    except OSError as exc:
        with local_errors(str(path), writing=True):
            raise exc from None


def _meaning(path: Path, exc: BaseException) -> SwathError:
    if not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
        return StorageRefusedError(f"{path}: its folder takes no files; check owner, permissions and mount options")
    return StorageUnavailableError(f"{path} could not be written ({reason(exc)}); free some space and try again")


def validate_cog(path: Path) -> list[str]:
    """One sentence for each way in which a GeoTIFF is not cloud optimized; none if it is.

    Raises:
        UnreadableSceneError: Not a GeoTIFF at all.

    Source: the layout check of GDAL's validate_cloud_optimized_geotiff.py,
    https://gdal.org/en/release-3.10/drivers/raster/cog.html.
    """
    with gdal_settings(), open_raster(path, "GTiff") as dataset, translated(str(path)):
        faults = []
        if dataset.tags(ns="IMAGE_STRUCTURE").get("LAYOUT") != "COG":
            faults.append("its header does not declare the COG layout")
        if dataset.block_shapes[0][1] == dataset.width > BLOCK_PX:
            faults.append("it is stored in strips, not tiles")
        factors = dataset.overviews(1)
        if max(dataset.shape) > BLOCK_PX and not factors:
            faults.append("it has no overviews")
        if path.with_name(path.name + ".ovr").exists():
            faults.append("its overviews are in another file")
        return faults + _order_faults(dataset, len(factors))


def _order_faults(dataset: Any, overviews: int) -> list[str]:
    """Indexes come first, largest image first; pixels come last, smallest image first."""
    levels: list[int | None] = [None, *range(overviews)]
    indexes = [_tag(dataset, "IFD_OFFSET", level) for level in levels]
    pixels = [offset for level in reversed(levels) if (offset := _tag(dataset, "BLOCK_OFFSET_0_0", level))]
    faults = []
    if indexes != sorted(indexes):
        faults.append("its overviews are not indexed in order of size")
    if pixels != sorted(pixels):
        faults.append("its overviews' pixels do not come before its own")
    if pixels and indexes and max(indexes) > min(pixels):
        faults.append("some of its index lies behind its pixels")
    return faults


def _tag(dataset: Any, name: str, level: int | None) -> int:
    value = dataset.get_tag_item(name, "TIFF", bidx=1, **({} if level is None else {"ovr": level}))
    return int(value or 0)


def read_overview(path: Path, *, max_px: int) -> NDArray[Any]:
    """(h, w) of the first band, reduced by nearest neighbour so that neither side is longer than `max_px`.

    Raises:
        UnreadableSceneError: Not a GeoTIFF, or damaged.
    """
    with gdal_settings(), open_raster(path, "GTiff") as dataset, translated(str(path)):
        step = max(1.0, max(dataset.shape) / max_px)
        shape = tuple(max(1, round(side / step)) for side in dataset.shape)
        pixels: NDArray[Any] = dataset.read(1, out=np.empty(shape, dataset.dtypes[0]))
        return pixels
