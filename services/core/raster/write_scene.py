"""A scene rewritten, losslessly, as one COG: the copy that the tiler puts into the store."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from services.core.errors import BandMismatchError
from services.core.grid import Window
from services.core.raster.cog import BLOCK_PX
from services.core.raster.read import SceneReader
from services.core.raster.table import TABLE_TAG, build_table
from services.core.raster.write import MapSpec, MapWriter
from services.core.records import Scene

#: Most bytes of a scene held at once while it is rewritten.
_HELD_BYTES = 2**26


def write_scene_cog(
    reader: SceneReader, scene: Scene, path: Path, *, progress: Callable[[float], None] | None = None
) -> None:
    """Rewrite a scene, losslessly, as one COG that many readers can share.

    `open_scene` of it gives the same bands, pixels and valid masks, for any choice of bands: what TIFF cannot say per
    band goes into a tag of our own.

    Args:
        reader: Of all the scene's bands, in their order.
        scene: What is read.
        path: The COG.
        progress: Called with the fraction done.

    Raises:
        BandMismatchError: No stored type holds all bands without loss.
        UnreadableSceneError: A block is damaged.
        StorageUnavailableError, StorageRefusedError: It cannot be written.
    """
    dtype = _common_dtype(scene)
    masked = any(asset.mask.explicit for asset in scene.assets)
    windows = list(_strips(scene.shape, len(scene.bands) * dtype.itemsize))
    with MapWriter(_scene_spec(scene, dtype.name, masked=masked), path.parent) as writer:
        for count, window in enumerate(windows, start=1):
            pixels = np.empty((len(scene.bands), *window.shape), dtype)
            for row, band in enumerate(reader.read_stored(window)):
                pixels[row] = band
            valid = reader.read_masked(window) if masked else None
            if masked and valid is None:
                valid = np.ones(window.shape, np.bool_)
            writer.write(window, pixels, valid)
            if progress is not None:
                progress(0.7 * count / len(windows))  # the rest is the COG itself
        writer.finish(path)
    if progress is not None:
        progress(1.0)


def _common_dtype(scene: Scene) -> np.dtype[Any]:
    """The smallest type that holds every band's numbers."""
    dtypes = {band.dtype for band in scene.bands}
    common = np.result_type(*dtypes)
    if len(dtypes) > 1 and common.kind == "f" and dtypes & {"int64", "uint64"}:
        raise BandMismatchError(
            f"{scene.title} mixes {' and '.join(sorted(dtypes))}, which no one type holds without loss; "
            "convert its bands to one type first"
        )
    return common


def _scene_spec(scene: Scene, dtype: str, *, masked: bool) -> MapSpec:
    tags = {TABLE_TAG: build_table(scene, dtype).model_dump_json()}
    if scene.acquired_at is not None:
        tags["TIFFTAG_DATETIME"] = f"{scene.acquired_at:%Y:%m:%d %H:%M:%S}"
    return MapSpec(
        shape=scene.shape,
        crs=scene.crs,
        transform=scene.transform,
        dtype=dtype,
        descriptions=tuple(band.name for band in scene.bands),
        nodata=None if masked else _common_nodata([band.nodata for band in scene.bands], np.dtype(dtype)),
        scales=tuple(band.scale for band in scene.bands),
        offsets=tuple(band.offset for band in scene.bands),
        tags=tags,
    )


def _common_nodata(values: Sequence[float | None], dtype: np.dtype[Any]) -> float | None:
    """The one number a TIFF may declare: all bands agree on it, and its type has it."""
    first = values[0]
    if first is None or not all(
        value == first or (value is not None and math.isnan(value + first)) for value in values
    ):
        return None
    if dtype.kind == "f":
        return first if not math.isfinite(first) or abs(first) <= np.finfo(dtype).max else None
    return first if math.isfinite(first) and np.iinfo(dtype).min <= first <= np.iinfo(dtype).max else None


def _strips(shape: tuple[int, int], pixel_bytes: int) -> Iterator[Window]:
    """Windows of whole output blocks, as wide as memory allows."""
    height, width = shape
    blocks = max(1, _HELD_BYTES // (BLOCK_PX * BLOCK_PX * pixel_bytes))
    step = min(width, blocks * BLOCK_PX)
    for row in range(0, height, BLOCK_PX):
        for col in range(0, width, step):
            yield Window(row_off=row, col_off=col, height=BLOCK_PX, width=step).clip(shape)
