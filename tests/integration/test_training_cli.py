"""What trains and judges takes its files from where ingest takes them, and looks at them before the long work."""

import http.server
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from services.core.model.package import load_package
from services.training.image_recipe import EUROSAT_RGB
from tests.classifiers import image_bytes, write_zip
from tests.http_server import answering
from tests.models import PICTURE_CLASSES, make_classifier
from tests.processes import Answer
from tests.scenes import LANDSAT_GSD_M, LANDSAT_NAMES, Look, write_scene

Swath = Callable[..., Answer]
LOOK = Look(shape=(128, 128), names=LANDSAT_NAMES, dtype="uint8", gsd_m=LANDSAT_GSD_M)
ITEM = {
    "type": "Feature",
    "stac_version": "1.0.0",
    "id": "a",
    "properties": {"datetime": "2001-02-03T04:05:06Z"},
    "assets": {"data": {"href": "./scene.tif", "type": "image/tiff; application=geotiff", "roles": ["data"]}},
}


class Counted(http.server.SimpleHTTPRequestHandler):
    """A folder, and what was asked of it."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Silence."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """`scene.tif`, `item.json` of it, `labels.tif` and `images.zip`."""
    folder = tmp_path / "www"
    write_scene(folder / "scene.tif", LOOK)
    classes = np.indices((128, 128)).sum(axis=0)[None] // 64 % 2
    write_scene(folder / "labels.tif", replace(LOOK, names=("class",)), pixels=classes.astype(np.uint8))
    images = {f"{name}/1.png": image_bytes((40 * at, 99, 99), px=64) for at, name in enumerate(PICTURE_CLASSES)}
    write_zip(folder / "images.zip", images)
    (folder / "item.json").write_text(json.dumps(ITEM))
    return folder


@pytest.fixture
def address(place: Path) -> Iterator[str]:
    """Where `place` is served."""
    Counted.asked = []
    with answering(partial(Counted, directory=str(place))) as address:
        yield address


def test_a_threshold_of_remote_files_is_that_of_local_ones(
    swath: Swath, place: Path, address: str, tmp_path: Path
) -> None:
    words = ("train", "threshold", "--tile-px", 32, "--labels")
    for name, where in {"near": place, "far": address}.items():
        answer = swath(*words, f"{where}/labels.tif", f"{where}/scene.tif", "--out", tmp_path / name)
        assert answer.code == 0, answer.err

    assert load_package(tmp_path / "near").digest == load_package(tmp_path / "far").digest


@pytest.mark.parametrize("name", ["scene.tif", "item.json"])
def test_a_remote_scene_judges_as_the_local_one_does_and_is_fetched_once(
    swath: Swath, place: Path, address: str, name: str
) -> None:
    told = []
    for where in (str(place), address):
        words = ("--data", f"{where}/{name}", "--labels", f"{where}/labels.tif", "--first-class", 0, "--json")
        told.append(swath("models", "evaluate", "landcover-l7", *words).json["held_out"])

    assert told[0] == told[1]
    assert len(Counted.asked) == len(set(Counted.asked))
    assert {"/labels.tif", "/scene.tif", f"/{name}"} <= set(Counted.asked)  # and what may lie beside them


def test_remote_images_judge_as_local_ones_do(swath: Swath, place: Path, address: str, tmp_path: Path) -> None:
    package = make_classifier(tmp_path / "package").root
    answers = [
        swath("models", "evaluate", package, "--data", f"{where}/images.zip", "--json") for where in (place, address)
    ]
    assert answers[0].json["held_out"] == answers[1].json["held_out"]


@pytest.mark.parametrize(
    "words",
    [
        ("threshold", "ftp://host/a.tif"),
        ("segmentation", "a.tif", "ftp://host/a.tif"),
        ("eurosat", "--data", "ftp://host/a.zip"),
    ],
)
def test_an_address_of_another_kind_is_no_path(swath: Swath, tmp_path: Path, words: tuple[str, ...]) -> None:
    answer = swath("train", *words, "--out", tmp_path / "out")
    assert answer.code == 65
    assert "is neither a path nor an s3://, http:// or https:// address" in answer.sentence


def test_images_of_another_size_are_refused_before_they_are_learned(swath: Swath, tmp_path: Path) -> None:
    files = {f"{c.name}/1.png": image_bytes((1, 2, 3), px=128) for c in EUROSAT_RGB.classes}

    answer = swath("train", "eurosat", "--data", write_zip(tmp_path / "large.zip", files), "--out", tmp_path / "out")

    assert answer.code == 65
    assert "large.zip holds images of 128x128 pixels; eurosat-rgb learns from 64x64" in answer.sentence
