"""Small synthetic scenes on disk, whole and damaged, made with rasterio and nothing of ours."""

import io
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.enums import ColorInterp
from rasterio.transform import Affine

CRS = "EPSG:32631"
LANDSAT_NAMES = ("blue", "green", "red", "nir", "swir16", "swir22")
#: Metres; what the shipped land-cover model was made for.
LANDSAT_GSD_M = 28.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a scene is made and stored. The defaults cost little and have edge tiles at 64 px."""

    shape: tuple[int, int] = (300, 400)
    names: Sequence[str] = ("red", "green", "nir")
    dtype: str = "uint16"
    gsd_m: float = 10.0
    block_px: int = 64
    nodata: float | None = None
    seed: int = 1

    @property
    def transform(self) -> Affine:
        return Affine(self.gsd_m, 0.0, 500_000.0, 0.0, -self.gsd_m, 5_000_000.0)


def make_pixels(look: Look) -> NDArray[Any]:
    """(C, h, w): slow waves with some noise, so that tiles and bands differ, some dark and some bright."""
    height, width = look.shape
    noise = np.random.default_rng(look.seed).random((len(look.names), height, width), np.float32)
    rows = np.arange(height, dtype=np.float32)[:, None]
    cols = np.arange(width, dtype=np.float32)[None, :]
    phases = np.arange(len(look.names), dtype=np.float32)[:, None, None] / 5
    waves = np.sin(rows / 41 + phases) * np.cos(cols / 59)
    level = 0.5 + 0.42 * waves + 0.1 * (noise - 0.5)
    top = 1.0 if look.dtype.startswith("float") else float(np.iinfo(look.dtype).max) * 0.9
    pixels: NDArray[Any] = (level * top).astype(look.dtype)
    return pixels


def write_scene(path: Path, look: Look = Look(), *, pixels: NDArray[Any] | None = None) -> Path:  # frozen
    """A tiled, pixel-interleaved, deflated GeoTIFF; `pixels` (C, h, w) in place of made ones."""
    stored = make_pixels(look) if pixels is None else pixels
    profile = {
        "driver": "GTiff",
        "count": len(stored),
        "height": stored.shape[1],
        "width": stored.shape[2],
        "dtype": stored.dtype,
        "crs": CRS,
        "transform": look.transform,
        "nodata": look.nodata,
        "tiled": True,
        "blockxsize": look.block_px,
        "blockysize": look.block_px,
        "compress": "deflate",
        "interleave": "pixel",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(stored)
        for position, name in enumerate(look.names, start=1):
            dataset.set_band_description(position, name)
    return path


def write_landsat(path: Path, shape: tuple[int, int] = (300, 400), *, block_px: int = 128) -> Path:
    """Six named bytes per pixel, as the shipped land-cover model wants them."""
    look = Look(shape=shape, names=LANDSAT_NAMES, dtype="uint8", gsd_m=LANDSAT_GSD_M, block_px=block_px)
    return write_scene(path, look)


#: Sentinel-2's bands as Level-1C stacks have them.
SENTINEL_CODES = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")


def read_pictures(archive: Path, count: int) -> NDArray[np.uint8]:
    """(count, 3, 64, 64) images of a EuroSAT zip, taken evenly from all over it."""
    with zipfile.ZipFile(archive) as files:
        names = sorted(name for name in files.namelist() if name.endswith(".jpg"))
        picked = [names[place * len(names) // count] for place in range(count)]
        images = [Image.open(io.BytesIO(files.read(name))).convert("RGB") for name in picked]
    return np.stack([np.asarray(image).transpose(2, 0, 1) for image in images])


def made_pictures(count: int, *, seed: int = 4) -> NDArray[np.uint8]:
    """(count, 3, 64, 64) where there is no archive: a colour of its own and some texture each, no level 0."""
    draw = np.random.default_rng(seed)
    color = draw.integers(30, 220, (count, 3, 1, 1))
    texture = draw.integers(-25, 25, (count, 3, 64, 64))
    return (color + texture).astype(np.uint8)


def lay_out(pictures: NDArray[Any], *, cols: int) -> NDArray[Any]:
    """(N, C, h, w) side by side, row-major: (C, rows * h, cols * w)."""
    count, bands, height, width = pictures.shape
    rows = count // cols
    grid = pictures[: rows * cols].reshape(rows, cols, bands, height, width)
    return grid.transpose(2, 0, 3, 1, 4).reshape(bands, rows * height, cols * width)


def write_pictures(path: Path, mosaic: NDArray[Any], *, block_px: int = 128) -> Path:
    """An 8-bit scene of 10 m whose bands are known by their colours alone, as PNG or JPEG have them."""
    write_scene(path, Look(names=(), gsd_m=10.0, block_px=block_px), pixels=mosaic)
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    return path


def write_level_1c(path: Path, mosaic: NDArray[Any], *, block_px: int = 128) -> Path:
    """What Sentinel-2 would have stored for an RGB mosaic: 13 bands of uint16, 0 to 2750 drawn as levels 1 to 255."""
    stack = np.full((len(SENTINEL_CODES), *mosaic.shape[1:]), 1200, np.uint16)
    for level, code in zip(mosaic, ("B04", "B03", "B02"), strict=True):
        stack[SENTINEL_CODES.index(code)] = np.rint((level.astype(np.float64) - 1) / 254 * 2750)
    return write_scene(path, Look(names=SENTINEL_CODES, gsd_m=10.0, block_px=block_px), pixels=stack)


def damage_block(path: Path, row: int, col: int) -> None:
    """Overwrite the compressed bytes of the block in this row and column of blocks; the file keeps its size."""
    with rasterio.open(path) as dataset:
        offset, size = (
            int(dataset.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE")
        )
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xde\xad" * (size // 2))


def damage_blocks(path: Path, blocks: Iterable[tuple[int, int]]) -> None:
    """`damage_block` for each (row, col)."""
    for row, col in blocks:
        damage_block(path, row, col)


def cut_in_half(path: Path) -> None:
    """Keep the first half of the bytes, as a broken download does."""
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
