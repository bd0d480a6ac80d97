"""Learned thresholds: the right split, from the very scores a run computes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.core.errors import RequestError
from services.core.model.package import load_package
from services.core.model.statistics import parse_statistics
from services.core.model.threshold import score_scale
from services.core.raster.open import open_scene
from services.training.threshold import (
    _in_few_digits,
    labelled_threshold,
    otsu_threshold,
    score_tiles,
    train_threshold,
)
from tests.scenes import Look, write_scene

HALVES = np.repeat(np.array([[40], [200]], np.uint8), 64, axis=0).repeat(128, axis=1)  # (128, 128): dark above bright


def halves(folder: Path, name: str = "halves.tif") -> Path:
    look = Look(shape=(128, 128), names=("red", "nir"), dtype="uint8")
    return write_scene(folder / name, look, pixels=np.stack([HALVES, HALVES]))


def labels(folder: Path, values: np.ndarray) -> Path:
    look = Look(shape=(128, 128), names=("class",), dtype="uint8", nodata=255)
    return write_scene(folder / "labels.tif", look, pixels=values[None].astype(np.uint8))


def test_otsu_splits_two_heaps_between_them() -> None:
    threshold = otsu_threshold(np.array([0.1, 0.12, 0.11, 0.8, 0.82]))
    assert 0.12 < threshold < 0.8


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.integers(0, 2**30))
@example([0.0, 5e-324], 0)
def test_the_labelled_split_is_the_best_of_all(values: list[float], seed: int) -> None:
    scores = np.array(values)
    bright = np.random.default_rng(seed).random(len(values)) < 0.5
    if len(set(values)) < 2:
        return
    best = max(((scores >= cut) == bright).sum() for cut in sorted(set(values))[1:])
    assert ((scores >= labelled_threshold(scores, bright)) == bright).sum() == best


def test_scores_that_do_not_differ_are_refused() -> None:
    with pytest.raises(RequestError, match="same score"):
        otsu_threshold(np.full(5, 0.3))


def test_a_score_is_the_mean_number_over_the_largest(tmp_path: Path) -> None:
    scene = open_scene([str(halves(tmp_path))])
    tiled = score_tiles(scene, 64)
    assert score_scale(scene) == 1 / 255
    assert tiled.tiles == ((0, 0), (0, 1), (1, 0), (1, 1))
    np.testing.assert_allclose(tiled.scores, np.array([40, 40, 200, 200]) / 255, rtol=1e-6)


def test_a_threshold_learned_without_labels_divides_the_scene(tmp_path: Path) -> None:
    package = train_threshold([halves(tmp_path)], tmp_path / "out", tile_px=64, name="mine")
    assert package.contract.threshold == pytest.approx(120 / 255, abs=1e-6)
    assert load_package(tmp_path / "out", digest=package.digest).contract.name == "mine"


def test_a_learned_threshold_keeps_the_scores_of_its_tiles(tmp_path: Path) -> None:
    package = train_threshold([halves(tmp_path)], tmp_path / "out", tile_px=64)
    told = parse_statistics(package.read("statistics.json"), "the package")
    assert told.classes == {"dark": 2, "bright": 2}
    assert [place for place, count in enumerate(told.score.counts) if count] == [100 * 40 // 255, 100 * 200 // 255]


def test_labels_decide_which_tiles_are_bright(tmp_path: Path) -> None:
    truth = labels(tmp_path, np.where(HALVES == 200, 1, 0))
    package = train_threshold([halves(tmp_path)], tmp_path / "out", labels=truth, tile_px=32)
    assert package.metrics["accuracy_on_training_tiles"] == 1.0


@pytest.mark.parametrize("dtype", ["uint16", "int32", "uint32"])
def test_a_wider_type_splits_the_same_tiles(tmp_path: Path, dtype: str) -> None:
    pixels = np.kron(np.random.default_rng(0).integers(500, 6000, (4, 4)), np.ones((32, 32)))[None].astype(dtype)
    scene = write_scene(tmp_path / "scene.tif", Look(shape=(128, 128), names=("red",), dtype=dtype), pixels=pixels)
    package = train_threshold([scene], tmp_path / "out", tile_px=32)
    scores = pixels[0, ::32, ::32].ravel() / np.iinfo(dtype).max
    assert package.metrics["bright_share"] == round(float((scores >= otsu_threshold(scores)).mean()), 4)


def test_a_threshold_has_six_digits_or_as_many_as_its_tiles_need() -> None:
    assert _in_few_digits(0.123456789, np.array([0.1, 0.2])) == 0.123457
    assert _in_few_digits(1.23456789e-6, np.array([1e-6, 2e-6])) == 1.23457e-6
    assert _in_few_digits(0.12345675, np.array([0.1234567, 0.1234568])) == 0.1234568


@pytest.mark.parametrize(("value", "told"), [(0, "dark"), (1, "bright")])
def test_labels_of_one_class_alone_are_refused(tmp_path: Path, value: int, told: str) -> None:
    truth = labels(tmp_path, np.full((128, 128), value))
    with pytest.raises(RequestError, match=f"call every tile {told}"):
        train_threshold([halves(tmp_path)], tmp_path / "out", labels=truth, tile_px=32)


@pytest.mark.parametrize("name", ["My Model", "a/b", ""])
def test_a_name_that_no_model_may_have_is_refused_before_a_scene_is_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestError, match="is no name for a model"):
        train_threshold([tmp_path / "none.tif"], tmp_path / "out", name=name)


def test_a_tile_without_pixels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="tiles of 0 px"):
        train_threshold([tmp_path / "none.tif"], tmp_path / "out", tile_px=0)


def test_labels_that_name_no_tile_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="name no tile"):
        train_threshold([halves(tmp_path)], tmp_path / "out", labels=labels(tmp_path, np.full((128, 128), 255)))


def test_labels_for_several_scenes_are_refused(tmp_path: Path) -> None:
    truth = labels(tmp_path, HALVES)
    with pytest.raises(RequestError, match="one scene"):
        train_threshold([halves(tmp_path), halves(tmp_path, "b.tif")], tmp_path / "out", labels=truth)
