"""Maps and prepared scenes: what goes in comes out, as a real COG, in the same bytes every time."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from services.core.errors import BandMismatchError, StorageRefusedError, StorageUnavailableError, WindowError
from services.core.grid import TileGrid, Window, whole
from services.core.raster.cog import read_overview, validate_cog
from services.core.raster.open import OpenOptions, open_scene
from services.core.raster.read import SceneReader
from services.core.raster.write import MapSpec, MapWriter
from services.core.raster.write_scene import write_scene_cog
from services.core.records import Scene
from tests.rasters import NORTH_UP, UTM31, ramp, some_windows, write_raster

COLORS = {0: (10, 20, 30), 1: (40, 50, 60)}


def spec(shape: tuple[int, int], **more: Any) -> MapSpec:
    base: dict[str, Any] = {"shape": shape, "crs": UTM31, "transform": tuple(NORTH_UP)[:6], "dtype": "uint8"}
    return MapSpec(**{**base, "descriptions": ("class",), "nodata": 255.0, **more})


def write_map(folder: Path, pixels: Any, name: str = "map.tif", *, backwards: bool = False, **more: Any) -> Path:
    grid = TileGrid(shape=pixels.shape, tile_px=300)
    windows = [grid.window(*at) for at in grid]
    with MapWriter(spec(pixels.shape, **more), folder) as writer:
        for window in reversed(windows) if backwards else windows:
            writer.write(window, pixels[window.within(whole(pixels.shape))])
        return writer.finish(folder / name)


@pytest.mark.parametrize("shape", [(1, 1), (7, 1300), (1300, 900)])
def test_a_map_holds_what_was_written(tmp_path: Path, shape: tuple[int, int]) -> None:
    pixels = ramp(shape, "uint8") % 2
    path = write_map(tmp_path, pixels, colormap=COLORS, tags={"swath_model": "m"})
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(1), pixels)
        assert (dataset.crs.to_epsg(), dataset.transform, dataset.nodata) == (32631, NORTH_UP, 255)
        assert dataset.colormap(1)[1] == (40, 50, 60, 255)
        assert (dataset.descriptions, dataset.tags()["swath_model"]) == (("class",), "m")
    assert validate_cog(path) == []
    assert [p.name for p in tmp_path.iterdir()] == ["map.tif"]


@pytest.mark.parametrize("resampling", ["nearest", "mode", "average"])
def test_equal_pixels_give_equal_bytes_in_any_order(tmp_path: Path, resampling: str) -> None:
    pixels = ramp((1300, 1100), "uint8") % 7
    paths = [
        write_map(tmp_path, pixels, f"{backwards}.tif", backwards=backwards, resampling=resampling)
        for backwards in (False, True)
    ]
    one, other = (hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    assert one == other


def test_what_was_never_written_is_nodata(tmp_path: Path) -> None:
    with MapWriter(spec((700, 700)), tmp_path) as writer:
        writer.write(Window(row_off=600, col_off=0, height=10, width=10), np.zeros((10, 10), np.uint8))
        path = writer.finish(tmp_path / "map.tif")
    with rasterio.open(path) as dataset:
        assert int((dataset.read(1) == 0).sum()) == 100
        assert int((dataset.read(1) == 255).sum()) == 700 * 700 - 100


def test_a_map_without_any_window_is_all_nodata(tmp_path: Path) -> None:
    path = MapWriter(spec((20, 30)), tmp_path).finish(tmp_path / "map.tif")
    with rasterio.open(path) as dataset:
        assert np.unique(dataset.read(1)).tolist() == [255]


def test_several_bands_keep_names_scales_and_offsets(tmp_path: Path) -> None:
    stack = ramp((2, 40, 50), "float32")
    several = spec(
        (40, 50), dtype="float32", descriptions=("a", "b"), scales=(0.5, 1.0), offsets=(1.0, 0.0), nodata=None
    )
    with MapWriter(several, tmp_path) as writer:
        writer.write(whole((40, 50)), stack)
        path = writer.finish(tmp_path / "map.tif")
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(), stack)
        assert (dataset.descriptions, dataset.scales, dataset.offsets) == (("a", "b"), (0.5, 1.0), (1.0, 0.0))


@pytest.mark.parametrize(
    ("window", "shape"),
    [
        (Window(row_off=0, col_off=0, height=5, width=5), (5, 4)),
        (Window(row_off=8, col_off=0, height=5, width=5), (5, 5)),
    ],
)
def test_pixels_that_do_not_fit_are_refused(tmp_path: Path, window: Window, shape: tuple[int, int]) -> None:
    with MapWriter(spec((10, 10)), tmp_path) as writer, pytest.raises(WindowError):
        writer.write(window, np.zeros(shape, np.uint8))


def test_a_folder_that_is_not_there_is_the_installations_fault(tmp_path: Path) -> None:
    with pytest.raises(StorageRefusedError):
        MapWriter(spec((10, 10)), tmp_path / "nowhere").finish(tmp_path / "map.tif")
    with pytest.raises(StorageRefusedError):
        MapWriter(spec((10, 10)), tmp_path).finish(tmp_path / "nowhere" / "map.tif")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", [100_000, 600_000, 1_000_000, 1_060_000])
def test_a_full_disk_never_leaves_a_hole(tmp_path: Path, limit: int) -> None:
    import resource
    import signal

    pixels = np.random.default_rng(1).integers(0, 200, (1000, 1000), "uint8")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(StorageUnavailableError, match="free some space"):
            write_map(tmp_path, pixels)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_plain_tiff_is_no_cog_and_the_check_says_why(tmp_path: Path) -> None:
    faults = validate_cog(write_raster(tmp_path / "a.tif", ramp((600, 700), "uint8")))
    assert [fault for fault in faults if "strips" in fault]
    assert [fault for fault in faults if "overviews" in fault]


def test_an_overview_is_as_small_as_asked_for(tmp_path: Path) -> None:
    path = write_map(tmp_path, np.full((1300, 650), 3, np.uint8))
    picture = read_overview(path, max_px=64)
    assert picture.shape == (64, 32)
    assert np.unique(picture).tolist() == [3]


def copy_of(scene: Scene, folder: Path) -> Scene:
    with SceneReader(scene, scene.bands) as reader:
        write_scene_cog(reader, scene, folder / "copy.tif")
    assert validate_cog(folder / "copy.tif") == []
    return open_scene([str(folder / "copy.tif")])


def assert_same_for_any_bands(scene: Scene, copy: Scene) -> None:
    choices = [range(len(scene.bands)), *([at] for at in range(len(scene.bands)))]
    for choice in choices:
        one = SceneReader(scene, [scene.bands[at] for at in choice])
        other = SceneReader(copy, [copy.bands[at] for at in choice])
        for window in some_windows(scene.shape):
            (pixels, valid), (again, valid_again) = one.read(window), other.read(window)
            np.testing.assert_array_equal(pixels, again)
            np.testing.assert_equal(valid_again, valid)


def test_a_prepared_scene_is_the_same_for_any_choice_of_bands(tmp_path: Path) -> None:
    """Three files: each with its own type and nodata, one coarse, one with a mask."""
    red, nir, swir = ramp((60, 90), "uint8"), ramp((60, 90), "uint16"), ramp((30, 45), "float32")
    red[:20], nir[10:40], swir[5, 5] = 0, 7, np.nan
    write_raster(tmp_path / "red.tif", red, nodata=0)
    write_raster(
        tmp_path / "nir.tif",
        nir,
        nodata=7,
        scales=(0.5,),
        offsets=(-1.0,),
        tags={"TIFFTAG_DATETIME": "2020:01:02 03:04:05"},
    )
    write_raster(tmp_path / "swir.tif", swir, transform=NORTH_UP @ Affine.scale(2), mask=ramp((30, 45)) % 9 > 0)
    files = {name: str(tmp_path / f"{name}.tif") for name in ("red", "nir", "swir")}
    scene = open_scene([], options=OpenOptions(bands=files))
    copy = copy_of(scene, tmp_path)
    assert_same_for_any_bands(scene, copy)
    told = [(b.name, b.alias, b.also, b.nodata, b.scale, b.offset, b.scale_source) for b in copy.bands]
    assert told == [(b.name, b.alias, b.also, b.nodata, b.scale, b.offset, b.scale_source) for b in scene.bands]
    assert (copy.acquired_at, copy.crs, copy.transform, copy.gsd_m) == (
        scene.acquired_at,
        scene.crs,
        scene.transform,
        scene.gsd_m,
    )


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint32", "int64", "uint64", "float64"])
def test_a_prepared_scene_keeps_every_stored_number(tmp_path: Path, dtype: str) -> None:
    limits = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else np.finfo(dtype)
    pixels = ramp((40, 50), dtype)
    pixels[0, 0], pixels[0, 1] = limits.min, limits.max
    scene = open_scene([str(write_raster(tmp_path / "a.tif", pixels))])
    copy = copy_of(scene, tmp_path)
    np.testing.assert_array_equal(SceneReader(copy, copy.bands).read_stored(whole((40, 50)))[0], pixels)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("count", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "float32"])
def test_a_prepared_scene_has_as_many_bands_and_none_becomes_a_mask(
    tmp_path: Path, dtype: str, count: int, masked: bool
) -> None:
    profile = {"photometric": "minisblack", "mask": ramp((40, 50)) % 7 > 0 if masked else None}
    scene = open_scene([str(write_raster(tmp_path / "a.tif", ramp((count, 40, 50), dtype), **profile))])
    copy = copy_of(scene, tmp_path)
    assert_same_for_any_bands(scene, copy)
    assert (copy.assets[0].mask, len(copy.bands)) == (scene.assets[0].mask, count)


def test_types_that_share_no_lossless_type_are_refused(tmp_path: Path) -> None:
    files = {dtype: str(write_raster(tmp_path / f"{dtype}.tif", ramp((4, 5), dtype))) for dtype in ("int64", "float32")}
    scene = open_scene([], options=OpenOptions(bands=files))
    with pytest.raises(BandMismatchError, match="float32 and int64"):
        copy_of(scene, tmp_path)


def test_progress_rises_to_one(tmp_path: Path) -> None:
    scene = open_scene([str(write_raster(tmp_path / "a.tif", ramp((1200, 40))))])
    seen: list[float] = []
    write_scene_cog(SceneReader(scene, scene.bands), scene, tmp_path / "copy.tif", progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
