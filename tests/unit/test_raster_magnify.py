"""Maps whose pixels repeat a small raster: the same file as if every pixel had been written."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from services.core.errors import WindowError
from services.core.grid import Window
from services.core.raster.cog import validate_cog
from services.core.raster.write import MapSpec, MapWriter
from tests.rasters import NORTH_UP, UTM31

COLORS = {0: (10, 20, 30), 1: (40, 50, 60)}


def spec(shape: tuple[int, int], **more: Any) -> MapSpec:
    told: dict[str, Any] = {"crs": UTM31, "transform": tuple(NORTH_UP)[:6], "dtype": "uint8", "nodata": 255.0}
    return MapSpec(shape=shape, descriptions=("class",), colormap=COLORS, tags={"swath_model": "m"}, **told, **more)


def small(shape: tuple[int, int], times: int) -> Any:
    """Two classes and some nodata, one pixel per `times` of the map."""
    height, width = (-(-side // times) for side in shape)
    classes = np.random.default_rng(height).integers(0, 3, (height, width)).astype(np.uint8)
    classes[classes == 2] = 255
    return classes


def write_map(path: Path, pixels: Any, **more: Any) -> Path:
    with MapWriter(spec(**more), path.parent) as writer:
        writer.write(Window(row_off=0, col_off=0, height=pixels.shape[0], width=pixels.shape[1]), pixels)
        return writer.finish(path)


@pytest.mark.parametrize(
    ("shape", "times"), [((1, 1), 8), ((40, 700), 7), ((1300, 1111), 100), ((2049, 513), 256), ((600, 600), 3)]
)
def test_each_written_pixel_fills_its_part_of_the_map(tmp_path: Path, shape: tuple[int, int], times: int) -> None:
    classes = small(shape, times)
    path = write_map(tmp_path / "map.tif", classes, shape=shape, repeat_px=times)
    with rasterio.open(path) as dataset:
        whole = classes.repeat(times, axis=0).repeat(times, axis=1)[: shape[0], : shape[1]]
        np.testing.assert_array_equal(dataset.read(1), whole)


def test_it_is_byte_for_byte_the_file_of_all_its_pixels(tmp_path: Path) -> None:
    classes = small((2048, 1536), 256)
    whole = classes.repeat(256, axis=0).repeat(256, axis=1)
    written = write_map(tmp_path / "written.tif", whole, shape=(2048, 1536))
    magnified = write_map(tmp_path / "magnified.tif", classes, shape=(2048, 1536), repeat_px=256)
    assert magnified.read_bytes() == written.read_bytes()


def test_it_is_a_cog_with_overviews_and_all_tags(tmp_path: Path) -> None:
    path = write_map(tmp_path / "map.tif", small((1300, 1111), 64), shape=(1300, 1111), repeat_px=64)
    with rasterio.open(path) as dataset:
        assert (dataset.crs.to_epsg(), dataset.transform, dataset.nodata) == (32631, NORTH_UP, 255)
        assert dataset.colormap(1)[1] == (40, 50, 60, 255)
        assert (dataset.descriptions, dataset.tags()["swath_model"]) == (("class",), "m")
        assert dataset.overviews(1) == [2, 4]
    assert validate_cog(path) == []


def test_nothing_but_the_map_is_left(tmp_path: Path) -> None:
    write_map(tmp_path / "map.tif", small((600, 600), 64), shape=(600, 600), repeat_px=64)
    assert [path.name for path in tmp_path.iterdir()] == ["map.tif"]


def test_a_window_beyond_what_is_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WindowError, match="not inside"):
        write_map(tmp_path / "map.tif", np.zeros((11, 10), np.uint8), shape=(600, 600), repeat_px=60)
