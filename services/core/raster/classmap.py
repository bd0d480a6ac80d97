"""Class rasters: the truth that training learns from and that maps are held against.

Ingest refuses them on purpose (a palette is no measurement), so they have a way in of their own.
"""

from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from services.core.errors import BandMismatchError, ObjectNotFoundError, UnreadableSceneError
from services.core.raster.gdal import gdal_settings, open_raster, translated
from services.core.raster.georef import HALF_PX, apart_px, crs_text
from services.core.records import Scene

UNLABELLED = -1


def read_class_map(path: Path, scene: Scene) -> NDArray[np.int16]:
    """(H, W) class numbers on the grid of `scene`, `UNLABELLED` where the file says nodata.

    Raises:
        ObjectNotFoundError: No such file.
        UnreadableSceneError: Not a GeoTIFF of one band of bytes, or damaged.
        BandMismatchError: It lies on another grid.
    """
    if not path.is_file():
        raise ObjectNotFoundError(f"no class raster at {path}")
    with gdal_settings(), open_raster(path, "GTiff") as dataset, translated(str(path)):
        if dataset.count != 1 or dataset.dtypes[0] != "uint8":
            raise UnreadableSceneError(f"{path} is no class raster: it needs one band of uint8")
        _check_grid(path, scene, shape=dataset.shape, transform=dataset.transform)
        if dataset.crs is not None and crs_text(dataset.crs) != scene.crs:
            raise BandMismatchError(f"{path} is in another coordinate reference system than {scene.title}")
        classes: NDArray[np.int16] = dataset.read(1).astype(np.int16)
        if dataset.nodata is not None:
            classes[classes == dataset.nodata] = UNLABELLED
        return classes


def _check_grid(path: Path, scene: Scene, *, shape: tuple[int, int], transform: Affine) -> None:
    apart = apart_px(Affine(*scene.transform), scene.shape, transform, shape)
    if tuple(shape) != scene.shape or apart > HALF_PX:
        raise BandMismatchError(f"{path} does not lie on the grid of {scene.title}; warp it there with gdalwarp first")
