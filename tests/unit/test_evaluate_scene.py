"""Judging a segmentation by a label raster: every labelled pixel, by the operators of a batch run."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.core.errors import ContractError, ObjectNotFoundError, RequestError
from services.core.model.backends import open_backend
from services.core.model.package import shipped_package
from services.training.evaluate_scene import SceneVerdict, evaluate_scene
from tests.models import make_classifier
from tests.scenes import LANDSAT_GSD_M, LANDSAT_NAMES, Look, make_pixels, write_scene

LOOK = Look(shape=(64, 64), names=LANDSAT_NAMES, dtype="uint8", gsd_m=LANDSAT_GSD_M, nodata=0)


def judge(scene: Path, labels: Path, *, first_class: int = 1) -> SceneVerdict:
    package = shipped_package("landcover-l7")
    backend = open_backend(package, name="onnxruntime", threads=2)
    return evaluate_scene(package, scene, labels, backend=backend, first_class=first_class)


@pytest.mark.data
def test_the_shipped_segmentation_is_as_right_on_its_scene_as_its_card_lets_expect(data_dir: Path) -> None:
    folder = data_dir / "landcover"

    report = judge(folder / "NC_L7_2000_6band_28m.tif", folder / "NC_landclass96_on_L7_grid.tif").as_json()

    assert report["held_out"]["accuracy"] == pytest.approx(0.767, abs=0.005)
    assert report["held_out"]["pixels"] == report["pixels"] > 200_000
    assert len(report["held_out"]["data"]) == 64


def test_a_classification_has_no_pixels_to_judge(tmp_path: Path) -> None:
    package = make_classifier(tmp_path / "package")
    backend = open_backend(package, name="onnxruntime")

    with pytest.raises(ContractError, match="labels of pixels do not fit"):
        evaluate_scene(package, tmp_path / "a.tif", tmp_path / "b.tif", backend=backend, first_class=1)


def test_labels_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFoundError, match=r"no label raster at .*absent\.tif"):
        judge(tmp_path / "scene.tif", tmp_path / "absent.tif")


@pytest.mark.parametrize(
    ("label", "first_class", "level", "said"),
    [
        (4, 99, 1, "it holds 4, and with --first-class 99 the classes of model landcover-l7 are 99 to 105;"),
        (0, 1, 1, "it holds 0, and with --first-class 1"),
        (255, 1, 1, "it holds no number, and"),
        (4, 1, 0, "labels no valid pixel of scene: it holds 4"),
    ],
    ids=["no class has the number", "blank", "all nodata", "a scene without pixels"],
)
def test_labels_of_no_pixel_judge_nobody(tmp_path: Path, label: int, first_class: int, level: int, said: str) -> None:
    scene = write_scene(tmp_path / "scene.tif", LOOK, pixels=make_pixels(LOOK) * np.uint8(level))
    classes = np.full((1, 64, 64), label, np.uint8)
    labels = write_scene(tmp_path / "labels.tif", replace(LOOK, names=("class",), nodata=255), pixels=classes)

    with pytest.raises(RequestError, match=re.escape(said)):
        judge(scene, labels, first_class=first_class)


def test_a_raster_of_many_numbers_is_told_by_its_ends(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif", LOOK)
    classes = np.arange(64, dtype=np.uint8).repeat(64).reshape(1, 64, 64)
    labels = write_scene(tmp_path / "labels.tif", replace(LOOK, names=("class",), nodata=255), pixels=classes)

    with pytest.raises(RequestError, match="it holds 0 to 63, and"):
        judge(scene, labels, first_class=200)
