"""Judging a segmentation by a label raster: every labelled pixel, by the operators of a batch run."""

from pathlib import Path

import pytest

from services.core.errors import ContractError, ObjectNotFoundError
from services.core.model.backends import open_backend
from services.core.model.package import shipped_package
from services.training.evaluate_scene import SceneVerdict, evaluate_scene
from tests.models import make_classifier


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
