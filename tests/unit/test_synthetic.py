"""The scene made from nothing: always the same, understood as Landsat-7, and true to its truth."""

from pathlib import Path

import numpy as np
import pytest

from services.core.model.backends import open_backend
from services.core.model.package import shipped_package
from services.core.raster.classmap import read_class_map
from services.core.raster.open import open_scene
from services.core.synthetic import WATER, draw_scene, make_scene
from services.training.evaluate import judge, map_scene

SHAPE = (512, 512)


def test_one_seed_draws_one_scene_and_another_seed_another() -> None:
    first, again, other = (draw_scene((128, 160), seed=seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert not np.array_equal(first.classes, other.classes)


@pytest.mark.parametrize("shape", [(2, 2), (3, 500), (257, 64), (512, 512)])
def test_any_shape_can_be_drawn_without_a_nodata_pixel(shape: tuple[int, int]) -> None:
    scene = draw_scene(shape, seed=1)
    assert scene.pixels.shape == (6, *shape)
    assert scene.pixels.min() >= 1


def test_every_class_occurs_in_the_default_scene() -> None:
    assert set(np.unique(draw_scene((1024, 1024), seed=7).classes)) == set(range(7))


def test_ingest_takes_it_for_landsat_seven(tmp_path: Path) -> None:
    make_scene(tmp_path / "scene.tif", tmp_path / "truth.tif", shape=SHAPE)
    scene = open_scene([str(tmp_path / "scene.tif")])
    assert [band.name for band in scene.bands] == ["blue", "green", "red", "nir", "swir16", "swir22"]
    assert scene.gsd_m == pytest.approx(28.5, rel=0.01)
    assert scene.acquired_at is not None
    shipped_package("landcover-l7").contract.pick_bands(scene)


def test_water_is_dark_in_the_infrared_and_forest_is_not() -> None:
    scene = draw_scene(SHAPE, seed=7)
    assert scene.pixels[4][scene.classes == WATER].mean() < 25
    assert scene.pixels[4][scene.classes == 4].mean() > 60


def test_the_shipped_model_maps_three_quarters_of_it_right(tmp_path: Path) -> None:
    make_scene(tmp_path / "scene.tif", tmp_path / "truth.tif", shape=SHAPE)
    scene, package = open_scene([str(tmp_path / "scene.tif")]), shipped_package("landcover-l7")
    answers = map_scene(package, scene, open_backend(package, name="onnxruntime", threads=2))
    truth = read_class_map(tmp_path / "truth.tif", scene).astype(np.int64)
    accuracy = judge(answers, truth, np.ones(SHAPE, np.bool_), classes=len(package.contract.classes))
    assert accuracy.overall >= 0.75
