"""SceneReader against rasterio itself, on every kind of mask and number."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rasterio.transform import Affine

from services.core.errors import ObjectNotFoundError, StorageUnavailableError, UnreadableSceneError
from services.core.grid import Window, whole
from services.core.raster.open import OpenOptions, open_scene
from services.core.raster.read import SceneReader
from services.core.records import Asset, Band, Scene
from services.core.storage import RangeReader
from services.core.storage.opener import RasterOpener
from services.core.testing import MemoryStore
from tests.rasters import NORTH_UP, oracle, ramp, some_windows, write_raster
from tests.scenes import damage_block

SHAPE = (150, 210)
TILED = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}


def assert_like_rasterio(path: Path, scene: Scene) -> None:
    with SceneReader(scene, scene.bands) as reader:
        for window in some_windows(scene.shape):
            pixels, valid = reader.read(window)
            expected, mask = oracle(path, [band.bidx for band in scene.bands], window)
            np.testing.assert_array_equal(pixels, expected)
            assert (valid is None) == bool(mask.all())
            np.testing.assert_array_equal(mask if valid is None else valid, mask)


def holes(dtype: str, count: int, value: float) -> Any:
    pixels = ramp((count, *SHAPE), dtype)
    pixels[0, 40:90, 50:120] = value
    pixels[-1, 60:140, 10:80] = value
    return pixels


@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "float32", "float64"]
)
def test_numbers_of_every_type_come_as_rasterio_gives_them(tmp_path: Path, dtype: str, interleave: str) -> None:
    path = write_raster(tmp_path / "a.tif", ramp((3, *SHAPE), dtype), interleave=interleave, **TILED)
    assert_like_rasterio(path, open_scene([str(path)]))


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [
        *(("uint8", 0), ("uint16", 65535), ("int16", -32768), ("int32", -(2**31)), ("uint32", 2**32 - 1)),
        *(("int64", -9999), ("float32", -9999), ("float32", float("nan")), ("float32", -3.4028234663852886e38)),
        *(("float32", float("inf")), ("float32", float("-inf")), ("float64", float("-inf"))),
        *(("float64", -1.2676506e30), ("float64", float("nan")), ("float64", 0.1)),
    ],
)
def test_a_pixel_is_nodata_where_every_band_says_so(tmp_path: Path, dtype: str, nodata: float) -> None:
    path = write_raster(tmp_path / "a.tif", holes(dtype, 2, nodata), nodata=nodata, **TILED)
    assert_like_rasterio(path, open_scene([str(path)]))


def test_nan_without_nodata_is_not_valid(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", holes("float32", 2, np.nan), **TILED)
    scene = open_scene([str(path)])
    valid = SceneReader(scene, scene.bands).read(whole(SHAPE))[1]
    assert valid is not None
    assert not valid[65, 15]  # the last band alone is NaN there
    assert valid[0, 0]


def test_float64_beyond_float32_is_not_valid(tmp_path: Path) -> None:
    pixels = ramp(SHAPE, "float64")
    pixels[3, 4] = 1e300
    scene = open_scene([str(write_raster(tmp_path / "a.tif", pixels))])
    valid = SceneReader(scene, scene.bands).read(whole(SHAPE))[1]
    assert valid is not None
    assert np.argwhere(~valid).tolist() == [[3, 4]]


@pytest.mark.parametrize("internal", ["YES", "NO"])
def test_a_mask_inside_or_beside_the_file_is_obeyed(tmp_path: Path, internal: str) -> None:
    mask = ramp(SHAPE) % 3 > 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal):
        path = write_raster(tmp_path / "a.tif", ramp((2, *SHAPE)), mask=mask, **TILED)
    scene = open_scene([str(path)])
    assert len(scene.assets[0].sidecars) == (internal == "NO")
    assert_like_rasterio(path, scene)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_alpha_is_a_mask_and_not_a_band(tmp_path: Path, dtype: str) -> None:
    pixels = ramp((4, *SHAPE), dtype)
    pixels[3] = np.where(ramp(SHAPE) % 5 > 0, 1, 0)  # barely visible is visible
    names = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    path = write_raster(tmp_path / "a.tif", pixels, colorinterp=names, photometric="rgb", alpha="yes")
    scene = open_scene([str(path)])
    assert [band.name for band in scene.bands] == ["red", "green", "blue"]
    assert_like_rasterio(path, scene)


@pytest.mark.parametrize("alpha_at", [0, 2, 4])
def test_alpha_is_a_mask_wherever_it_stands_among_however_many_bands(tmp_path: Path, alpha_at: int) -> None:
    pixels = ramp((5, *SHAPE))
    pixels[alpha_at] = np.where(ramp(SHAPE) % 5 > 0, 65535, 0)
    kinds = [ColorInterp.undefined] * 5
    kinds[alpha_at] = ColorInterp.alpha
    path = write_raster(tmp_path / "a.tif", pixels, colorinterp=kinds, nodata=7, **TILED)
    scene = open_scene([str(path)])
    read, valid = SceneReader(scene, scene.bands).read(whole(SHAPE))
    np.testing.assert_array_equal(read, np.delete(pixels, alpha_at, axis=0))
    np.testing.assert_array_equal(valid, pixels[alpha_at] > 0)


def test_a_mask_for_each_band_is_refused(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", ramp((2, *SHAPE)))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="NO"):
        mask = write_raster(tmp_path / "a.tif.msk", ramp((2, *SHAPE), "uint8"))
        with rasterio.open(mask, "r+") as dataset:
            dataset.update_tags(INTERNAL_MASK_FLAGS_1=0, INTERNAL_MASK_FLAGS_2=0)
    with pytest.raises(UnreadableSceneError, match=r"a\.tif has a mask for each of its bands"):
        open_scene([str(path)])


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", ramp((2, *SHAPE)))
    write_raster(tmp_path / "a.tif.msk", ramp((75, 105), "uint8"))
    with pytest.raises(
        UnreadableSceneError, match=r"a\.tif\.msk has 75 by 105 pixels, and the file it masks 150 by 210"
    ):
        open_scene([str(path)])


def test_bands_come_in_the_order_asked_for_and_may_repeat(tmp_path: Path) -> None:
    pixels = ramp((3, *SHAPE))
    scene = open_scene([str(write_raster(tmp_path / "a.tif", pixels, descriptions=("red", "green", "blue")))])
    asked = [scene.band(name) for name in ("blue", "red", "blue")]
    bands = [band for band in asked if isinstance(band, Band)]
    read, _ = SceneReader(scene, bands).read(whole(SHAPE))
    np.testing.assert_array_equal(read, pixels[[2, 0, 2]].astype(np.float32))


@pytest.mark.parametrize("step", [2, 3, 6])
def test_coarse_bands_are_repeated_onto_the_fine_grid(tmp_path: Path, step: int) -> None:
    fine, coarse = ramp((120, 180)), ramp((120 // step, 180 // step))
    write_raster(tmp_path / "B04.tif", fine)
    write_raster(tmp_path / "B11.tif", coarse, transform=NORTH_UP @ Affine.scale(step))
    scene = open_scene([str(tmp_path)])
    expected = np.stack([fine, coarse.repeat(step, 0).repeat(step, 1)]).astype(np.float32)
    with SceneReader(scene, scene.bands) as reader:
        for window in [*some_windows(scene.shape), Window(row_off=7, col_off=11, height=1, width=5)]:
            rows, cols = window.within(whole(scene.shape))
            np.testing.assert_array_equal(reader.read(window)[0], expected[:, rows, cols])


def test_bands_of_several_files_share_one_rule_for_nodata(tmp_path: Path) -> None:
    red, nir = ramp((20, 20)), ramp((20, 20))
    red[:10], nir[5:15] = 0, 9999
    write_raster(tmp_path / "red.tif", red, nodata=0)
    write_raster(tmp_path / "nir.tif", nir, nodata=9999)
    bands = {"red": str(tmp_path / "red.tif"), "nir": str(tmp_path / "nir.tif")}
    scene = open_scene([], options=OpenOptions(bands=bands))
    valid = SceneReader(scene, scene.bands).read(whole((20, 20)))[1]
    np.testing.assert_array_equal(valid, (red != 0) | (nir != 9999))


def test_a_damaged_block_is_named_with_its_window_and_spares_the_others(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", ramp(SHAPE) * ramp(SHAPE, "uint16"), **TILED)
    with rasterio.open(path) as dataset:
        offset, size = (int(dataset.get_tag_item(f"BLOCK_{key}_1_1", "TIFF", bidx=1)) for key in ("OFFSET", "SIZE"))
    data = bytearray(path.read_bytes())
    data[offset : offset + size] = b"\xff" * size
    path.write_bytes(data)
    scene = open_scene([str(path)])
    with SceneReader(scene, scene.bands) as reader:
        with pytest.raises(UnreadableSceneError, match=r"a\.tif is damaged in rows 60-69, columns 60-69"):
            reader.read(Window(row_off=60, col_off=60, height=10, width=10))
        assert reader.read(Window(row_off=0, col_off=0, height=64, width=64))[1] is None


def test_damage_in_a_signed_file_is_named_without_the_signature(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", ramp(SHAPE), **TILED)
    damage_block(path, 1, 1)
    scene = open_scene(["https://h/a.tif?sig=hush"], fetch=lambda _: path)
    with (
        SceneReader(scene, scene.bands, open_asset=lambda _: str(path)) as reader,
        pytest.raises(UnreadableSceneError, match=r"^https://h/a\.tif is damaged"),
    ):
        reader.read(whole(SHAPE))


class Line(MemoryStore):
    """A store whose line goes dead after some reads."""

    reads_left = 10**9

    def open(self, key: str) -> RangeReader:
        data = self.get(key)
        return RangeReader(lambda start, stop: self._read(data, start, stop), len(data), name=key)

    def _read(self, data: bytes, start: int, stop: int) -> bytes:
        self.reads_left -= 1
        if self.reads_left < 0:
            raise StorageUnavailableError("the line went dead; try again later")
        return data[start:stop]


def stored(path: Path) -> tuple[Line, Callable[[Asset], RasterOpener]]:
    store = Line()
    store.put("some/scene.tif", path.read_bytes())
    return store, lambda _: RasterOpener(store, "some/scene.tif")


def test_an_asset_may_be_served_by_a_store(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", ramp((2, *SHAPE)), nodata=1, **TILED)
    scene = open_scene([str(path)])
    with SceneReader(scene, scene.bands, open_asset=stored(path)[1]) as reader:
        for window in some_windows(SHAPE):
            np.testing.assert_array_equal(reader.read(window)[0], oracle(path, [1, 2], window)[0])


@pytest.mark.parametrize("reads", [0, 1, 2])
def test_a_dead_line_is_no_damage_and_may_come_back(tmp_path: Path, reads: int) -> None:
    noise = np.random.default_rng(1).integers(1, 9999, (2, 1200, 1200), "uint16")  # three blocks of the reader
    path = write_raster(tmp_path / "a.tif", noise, **TILED)
    scene = open_scene([str(path)])
    store, open_asset = stored(path)
    store.reads_left = reads
    with SceneReader(scene, scene.bands, open_asset=open_asset) as reader:
        with pytest.raises(StorageUnavailableError, match="line went dead"):
            reader.read(whole(scene.shape))
        store.reads_left = 10**9
        np.testing.assert_array_equal(reader.read(whole(scene.shape))[0], noise.astype(np.float32))


def test_threads_may_read_different_objects_of_one_name(tmp_path: Path) -> None:
    paths = [write_raster(tmp_path / f"{n}.tif", ramp((2, *SHAPE)) * (n + 1), **TILED) for n in range(4)]

    def read_often(path: Path) -> bool:
        scene = open_scene([str(path)])
        for window in some_windows(SHAPE) * 10:
            with SceneReader(scene, scene.bands, open_asset=stored(path)[1]) as reader:
                if not np.array_equal(reader.read(window)[0], oracle(path, [1, 2], window)[0]):
                    return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read_often, paths))


def test_what_open_asset_raises_comes_through(tmp_path: Path) -> None:
    def gone(_: object) -> str:
        raise ObjectNotFoundError("a.tif is gone")

    scene = open_scene([str(write_raster(tmp_path / "a.tif", ramp(SHAPE)))])
    with SceneReader(scene, scene.bands, open_asset=gone) as reader, pytest.raises(ObjectNotFoundError, match="gone"):
        reader.read(whole(SHAPE))
