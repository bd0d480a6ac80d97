"""Scenes to measure on: real pixels repeated (mirrored and rolled) where shared data is, else waves and noise."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

BLOCK_PX = 512
BANDS = ("red", "green", "blue")
#: Of the stored numbers, roughly; only finite activations matter to a benchmark.
MEAN, STD = {"uint16": 2500.0, "uint8": 90.0}, {"uint16": 1500.0, "uint8": 60.0}
_SOURCE = "scenes/mosaic_cog1.tif"
#: Pixels of the source that hold data everywhere.
_INNER = slice(40, 740)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a scene is stored."""

    height: int
    width: int
    dtype: str
    #: DEFLATE is what most archives use; ZSTD at its fastest is written in a third of the time.
    compress: str = "deflate"


def data_folder() -> Path:
    """Where real imagery would be; see tests/conftest.py."""
    root = Path(__file__).resolve().parents[2]
    return Path(os.environ.get("SWATH_TEST_DATA") or root.parent / "shared" / "data")


def source_name() -> str:
    """Where the pixels come from, for the report."""
    real = (data_folder() / _SOURCE).is_file()
    return "a real Sentinel-like mosaic, mirrored and rolled" if real else "waves and noise"


def write_scene(path: Path, look: Look) -> Path:
    """A tiled, pixel-interleaved GeoTIFF of three bands."""
    source = _as_type(_source_pixels(), look.dtype)
    options = {"predictor": 2, "num_threads": "ALL_CPUS", "BIGTIFF": "IF_SAFER"}
    options |= {"zstd_level": 1} if look.compress == "zstd" else {}
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=look.height,
        width=look.width,
        count=len(BANDS),
        dtype=look.dtype,
        tiled=True,
        blockxsize=BLOCK_PX,
        blockysize=BLOCK_PX,
        interleave="pixel",
        compress=look.compress,
        crs="EPSG:32631",
        transform=rasterio.Affine(10, 0, 400_000, 0, -10, 5_000_000),
        **options,
    ) as target:
        target.descriptions = BANDS
        count = 0
        for row in range(0, look.height, BLOCK_PX):
            for col in range(0, look.width, BLOCK_PX):
                count += 1
                height, width = min(BLOCK_PX, look.height - row), min(BLOCK_PX, look.width - col)
                target.write(_variant(source, count)[:, :height, :width], window=Window(col, row, width, height))
    return path


def _source_pixels() -> NDArray[np.uint16]:
    """(3, 700, 700)."""
    path = data_folder() / _SOURCE
    if path.is_file():
        with rasterio.open(path) as source:
            real: NDArray[np.uint16] = source.read()[:, _INNER, _INNER]
            return real
    noise = np.random.default_rng(1).normal(0, 120, (3, 700, 700))
    rows, cols = np.mgrid[:700, :700]
    waves = [1500 + 900 * np.sin(rows / (40 + 9 * band)) * np.cos(cols / (55 + 5 * band)) for band in range(3)]
    return np.clip(np.stack(waves) + noise, 1, 10_000).astype(np.uint16)


def _as_type(pixels: NDArray[np.uint16], dtype: str) -> NDArray[Any]:
    if dtype == "uint16":
        return pixels
    low, high = float(pixels.min()), float(np.percentile(pixels, 99))
    stretched: NDArray[Any] = np.clip((pixels - low) / (high - low) * 255, 0, 255).astype(dtype)
    return stretched


def _variant(source: NDArray[Any], number: int) -> NDArray[Any]:
    """(3, 512, 512): no two neighbours alike, so that nothing is cached but what would be in real life."""
    side = source.shape[1]
    rows = (np.arange(BLOCK_PX) + number * 37) % side
    cols = (np.arange(BLOCK_PX) + number * 91) % side
    block = source[:, rows[:, None], cols]
    block = block[:, ::-1] if number % 2 else block
    return block[:, :, ::-1] if number % 3 else block
