"""Rasters of every odd kind, made with rasterio and nothing of ours."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine
from rasterio.windows import Window as GdalWindow

from services.core.grid import Window

UTM31 = "EPSG:32631"
NORTH_UP = Affine(10, 0, 500_000, 0, -10, 5_000_000)


def ramp(shape: tuple[int, ...], dtype: str = "uint16") -> NDArray[Any]:
    """Different in every pixel as far as the type allows."""
    return (np.arange(np.prod(shape)).reshape(shape) % 251 + 1).astype(dtype)


def write_raster(path: Path, pixels: NDArray[Any], **profile: Any) -> Path:
    """A GeoTIFF in UTM 31, unless `profile` says otherwise; (h, w) or (C, h, w)."""
    stack = pixels[None] if pixels.ndim == 2 else pixels
    descriptions, scales, offsets = (profile.pop(key, None) for key in ("descriptions", "scales", "offsets"))
    tags, mask, colorinterp = (profile.pop(key, None) for key in ("tags", "mask", "colorinterp"))
    base = {"driver": "GTiff", "crs": UTM31, "transform": NORTH_UP, "dtype": stack.dtype.name}
    shape = {"count": len(stack), "height": stack.shape[1], "width": stack.shape[2]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", **{**base, **shape, **profile}) as dataset:
            if colorinterp is not None:
                dataset.colorinterp = colorinterp
            dataset.write(stack)
            for name, value in (("descriptions", descriptions), ("scales", scales), ("offsets", offsets)):
                if value is not None:
                    setattr(dataset, name, value)
            if mask is not None:
                dataset.write_mask(mask)
            dataset.update_tags(**(tags or {}))
    return path


def oracle(path: Path, bidx: list[int], window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """rasterio's own pixels (C, h, w) and dataset mask (h, w), the latter without pixels that are not finite."""
    place = GdalWindow(window.col_off, window.row_off, window.width, window.height)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as dataset:
            pixels = dataset.read(bidx, window=place, out_dtype="float32")
            return pixels, (dataset.dataset_mask(window=place) > 0) & np.isfinite(pixels).all(axis=0)


def some_windows(shape: tuple[int, int]) -> list[Window]:
    """The whole, the far corner, one across the middle, and a single pixel."""
    height, width = shape
    row, col = height // 3, width // 3
    return [
        Window(row_off=0, col_off=0, height=height, width=width),
        Window(row_off=row, col_off=col, height=height - row, width=width - col),
        Window(row_off=row, col_off=col, height=max(1, height // 2), width=max(1, width // 2)).clip(shape),
        Window(row_off=height - 1, col_off=width - 1, height=1, width=1),
    ]
