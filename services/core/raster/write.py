"""Maps and prepared scenes as Cloud Optimized GeoTIFFs, with memory that does not grow with their size."""

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window as GdalWindow

from services.core.errors import WindowError
from services.core.grid import Window, whole
from services.core.raster.cog import (
    BLOCK_PX,
    Resampling,
    check_written,
    make_cog,
    writing,
)
from services.core.raster.gdal import gdal_settings
from services.core.raster.georef import parse_crs
from services.core.raster.magnify import magnify
from services.core.records import Affine6

Color = tuple[int, int, int] | tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSpec:
    """Everything about a map but its pixels."""

    shape: tuple[int, int]  #: (height, width)
    crs: str  #: EPSG:n or WKT2
    transform: Affine6
    dtype: str
    descriptions: tuple[str, ...]  #: one per band
    nodata: float | None = None
    colormap: Mapping[int, Color] | None = None  #: of a single uint8 band
    scales: tuple[float, ...] = ()  #: one per band; empty: 1
    offsets: tuple[float, ...] = ()  #: one per band; empty: 0
    tags: Mapping[str, str] = field(default_factory=dict)
    resampling: Resampling = "nearest"  #: of the overviews
    repeat_px: int = 1  #: pixels of the map, along one side, that one written pixel fills; the far edges are cut off

    @property
    def written_shape(self) -> tuple[int, int]:
        """(height, width) of what is written."""
        height, width = (-(-side // self.repeat_px) for side in self.shape)
        return height, width


class MapWriter:
    """Takes windows in any order, and makes a COG of them at the end; what was never written is nodata.

    The windows go to an uncompressed file in `scratch` first, because a COG's own order of bytes is known only when
    all pixels are. That file gets its full size before the first window: GDAL writes blocks behind our back, and on a
    full disk it would leave holes that read as nodata.
    """

    def __init__(self, spec: MapSpec, scratch: Path) -> None:
        """Plan the map; nothing is written yet.

        Args:
            spec: What it is.
            scratch: Existing folder for the temporary file, of the size of the map without compression.
        """
        self._spec = spec
        self._scratch = scratch
        self._stack = ExitStack()
        self._dataset: Any = None
        self._path = scratch / "map.tif"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, window: Window, pixels: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> None:
        """Put pixels in their place.

        Args:
            window: Inside the map; in written pixels, where each fills several of the map.
            pixels: (h, w), or (C, h, w) for several bands.
            valid: (h, w) for the file's own mask, where nodata cannot say it; give it for every window or for none.

        Raises:
            WindowError: The window is not inside the map, or the pixels have another shape.
            StorageUnavailableError, StorageRefusedError: They cannot be written.
        """
        stack = pixels[None] if pixels.ndim == 2 else pixels
        if stack.shape != (len(self._spec.descriptions), *window.shape):
            raise WindowError(f"pixels of shape {pixels.shape} do not fill {window}")
        window.within(whole(self._spec.written_shape))
        place = GdalWindow(window.col_off, window.row_off, window.width, window.height)
        with gdal_settings(GDAL_TIFF_INTERNAL_MASK="YES"), writing(self._path):
            dataset = self._open()
            dataset.write(stack, window=place)
            if valid is not None:
                dataset.write_mask(valid, window=place)

    def finish(self, path: Path) -> Path:
        """Write the COG and remove the temporary file.

        Raises:
            StorageUnavailableError, StorageRefusedError: It cannot be written.
        """
        try:
            with gdal_settings(GDAL_TIFF_INTERNAL_MASK="YES"), writing(self._path):
                self._open().close()  # opened here at the latest: a map without a window is all nodata
            check_written(self._path)
            source = self._path
            if self._spec.repeat_px > 1:
                with writing(self._path):
                    source = magnify(source, self._spec.shape, self._spec.repeat_px)
            make_cog(source, path, resampling=self._spec.resampling)
        finally:
            self.close()
        return path

    def close(self) -> None:
        """Remove the temporary file."""
        dataset, self._dataset = self._dataset, None
        with writing(self._path):
            if dataset is not None:
                dataset.close()
            self._stack.close()

    def _open(self) -> Any:
        if self._dataset is None:
            self._path = (
                Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="map-", dir=self._scratch)))
                / "map.tif"
            )
            with _create(self._spec, self._path):
                pass  # closing fills every block with nodata
            check_written(self._path)
            self._dataset = rasterio.open(str(self._path), "r+", driver="GTiff")
        return self._dataset


def _create(spec: MapSpec, path: Path) -> Any:
    """An empty sparse GeoTIFF with all of a map's tags."""
    dataset = rasterio.open(
        str(path),
        "w",
        driver="GTiff",
        height=spec.written_shape[0],
        width=spec.written_shape[1],
        count=len(spec.descriptions),
        dtype=spec.dtype,
        crs=parse_crs(spec.crs),
        transform=Affine(*spec.transform),
        nodata=spec.nodata,
        tiled=True,
        blockxsize=BLOCK_PX,
        blockysize=BLOCK_PX,
        interleave="pixel",
        PHOTOMETRIC="MINISBLACK",  # else three bytes a pixel become colours, and of four the last becomes alpha
        BIGTIFF="IF_SAFER",
    )
    dataset.descriptions = spec.descriptions
    if spec.scales or spec.offsets:
        dataset.scales = spec.scales or (1.0,) * dataset.count
        dataset.offsets = spec.offsets or (0.0,) * dataset.count
    if spec.colormap is not None:
        dataset.write_colormap(
            1, {value: (*color[:3], *(color[3:] or (255,))) for value, color in spec.colormap.items()}
        )
    dataset.update_tags(**spec.tags)
    return dataset
