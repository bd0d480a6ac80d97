"""What is read of a TIFF's directories without GDAL is what GDAL says of them."""

from typing import Any

import numpy as np
import pytest
import rasterio

from services.core.errors import UnreadableSceneError
from services.core.raster.tiff_head import parse_directories

SHAPE = (75, 130)


def write(count: int = 3, dtype: str = "uint8", **options: Any) -> tuple[bytes, Any]:
    """A GeoTIFF, and (block shape, interleaving) as GDAL tells them."""
    height, width = SHAPE
    with rasterio.MemoryFile() as memory:
        with memory.open(driver="GTiff", count=count, dtype=dtype, height=height, width=width, **options) as target:
            target.write(np.ones((count, *SHAPE), dtype))
        with memory.open() as source:
            told = source.block_shapes[0], source.tags(ns="IMAGE_STRUCTURE").get("INTERLEAVE", "PIXEL")
        return memory.read(), told


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("options", [{}, {"blockysize": 7}, {"tiled": True, "blockxsize": 32, "blockysize": 16}])
@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize("written", [{}, {"BIGTIFF": "YES"}, {"ENDIANNESS": "BIG"}])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float64"])
def test_a_directory_says_what_gdal_says(options, interleave, written, dtype):
    body, (block_shape, interleaved) = write(dtype=dtype, interleave=interleave, **options, **written)
    (image,) = parse_directories(body)
    assert (image.shape, image.block_shape, image.bands) == (SHAPE, block_shape, 3)
    assert image.value_bytes == np.dtype(dtype).itemsize
    assert image.shared == (interleaved == "PIXEL")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_blocks_count_whole_and_with_all_bands_that_share_them():
    tiled = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    (pixel,) = parse_directories(write(interleave="pixel", **tiled)[0])
    (band,) = parse_directories(write(interleave="band", **tiled)[0])
    assert (pixel.blocks, pixel.decoded_bytes) == (6, 6 * 64 * 64 * 3)
    assert (band.blocks, band.decoded_bytes) == (18, 6 * 64 * 64)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_head_cut_short_anywhere_is_refused():
    body, _ = write()
    assert body[4] < len(body) // 2, "the directory comes first"
    for length in range(4, body[4] + 2 + 12 * body[body[4]], 5):
        with pytest.raises(UnreadableSceneError, match="cut short"):
            parse_directories(body[:length])


def test_a_chain_of_directories_that_comes_back_to_itself_ends():
    body = b"II*\0\x08\0\0\0" + b"\x02\0" + b"\0\1\4\0\1\0\0\0\1\0\0\0" + b"\1\1\4\0\1\0\0\0\1\0\0\0" + b"\x08\0\0\0"
    with pytest.raises(UnreadableSceneError, match="directories"):
        parse_directories(body)
