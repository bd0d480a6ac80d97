"""A classification model over whole scenes: of every tile a run says what the network says of its picture alone."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio

from services.core.ingest import ingest_scene
from services.core.job import JobRequest
from services.core.model.backends import open_backend
from services.core.model.package import ModelPackage
from services.core.model.package_save import save_package
from services.core.model.preprocess import normalise, plan_normalisation
from services.core.model.statistics import Tally
from services.core.raster.open import OpenOptions
from services.core.records import Band
from services.core.site import open_site
from services.inference.runs import start_run
from tests.models import make_classifier
from tests.processes import Answer, Installation, answers
from tests.scenes import (
    damage_block,
    lay_out,
    made_pictures,
    read_pictures,
    write_level_1c,
    write_pictures,
)

ROWS, COLS, SIDE = 3, 5, 64


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return made_pictures(ROWS * COLS)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, pictures: np.ndarray) -> Installation:
    folder = tmp_path_factory.mktemp("classes")
    mosaic = lay_out(pictures, cols=COLS)
    write_pictures(folder / "rgb.tif", mosaic)
    write_level_1c(folder / "l1c.tif", mosaic)
    write_pictures(folder / "tall.tif", lay_out(pictures, cols=1))
    return Installation(folder, {"SWATH_BACKEND": "onnxruntime"})


@pytest.fixture(scope="module")
def package(place: Installation) -> ModelPackage:
    return make_classifier(place.folder / "model")


@pytest.fixture(scope="module")
def run(place: Installation, package: ModelPackage) -> Callable[..., Answer]:
    def call(scene: str, *words: object, **environment: str) -> Answer:
        answer = place.run(place.folder / scene, *words, model=str(package.root), **environment)
        assert answer.code in (0, 65), answer.err
        return answer

    return call


@pytest.fixture(scope="module")
def tiled(run: Callable[..., Answer]) -> Answer:
    return run("rgb.tif")


@pytest.fixture(scope="module")
def smooth(run: Callable[..., Answer]) -> Answer:
    return run("rgb.tif", "--tile-px", 16)


@pytest.fixture(scope="module")
def tall(run: Callable[..., Answer]) -> Answer:
    """Four units."""
    return run("tall.tif", "--tile-px", 16, "--workers", 3)


def table(answer: Answer) -> dict[str, list[Any]]:
    return pq.read_table(Path(answer.json["product"]) / "tiles.parquet").to_pydict()


def class_map(answer: Answer) -> np.ndarray:
    with rasterio.open(Path(answer.json["product"]) / "map.tif") as dataset:
        return dataset.read(1)


def alone(package: ModelPackage, pictures: np.ndarray) -> np.ndarray:
    """Probabilities of each picture by itself: the way of the online service."""
    backend = open_backend(package, name="onnxruntime")
    bands = [Band(name=name, asset=0, bidx=1, dtype="uint8") for name in package.contract.bands]
    norm = plan_normalisation(package.contract, bands)
    return np.concatenate(
        [backend.predict(normalise(one[None][0].astype(np.float32), None, norm)[None]) for one in pictures]
    )


def test_a_tile_gets_the_answer_that_its_picture_gets_alone(tiled, package, pictures):
    expected = alone(package, pictures)
    rows = table(tiled)
    np.testing.assert_array_equal(np.array(rows["probabilities"], np.float32), expected)
    names = [c.name for c in package.contract.classes]
    assert rows["class"] == [names[best] for best in expected.argmax(axis=1)]
    assert class_map(tiled).tolist() == expected.argmax(axis=1).reshape(ROWS, COLS).tolist()


def test_what_is_told_as_the_command_repeats_the_bytes_where_another_library_is_the_default(
    tiled, place, package, tmp_path
):
    command = json.loads((Path(tiled.json["product"]) / "manifest.json").read_text())["command"]
    elsewhere = Installation(tmp_path, {"SWATH_BACKEND": "openvino"})
    missing = elsewhere.shell(command)
    assert (missing.code, f"no model {package.contract.name} {package.digest[:12]}" in missing.sentence) == (65, True)
    assert elsewhere.swath("models", "add", package.root).code == 0
    again = elsewhere.shell(f"{command} --json")
    assert (again.code, again.json["backend"]) == (0, "onnxruntime:fp32"), again.err
    assert elsewhere.answers(again) == place.answers(tiled)
    run_id = tiled.json["run_id"]
    assert place.swath("runs", "show", run_id, "--json").json["command"] == command
    assert place.swath("runs", "--json").json["runs"][-1]["command"] == command


def test_a_sentinel_scene_gets_the_same_answers_as_the_pictures_drawn_from_it(run, tiled):
    drawn = run("l1c.tif")
    assert table(drawn)["probabilities"] == table(tiled)["probabilities"]
    assert class_map(drawn).tolist() == class_map(tiled).tolist()


@pytest.mark.data
def test_real_pictures_laid_side_by_side_are_named_as_they_are_alone(data_dir, tmp_path, place, package):
    pictures = read_pictures(data_dir / "eurosat" / "EuroSAT_RGB_train.zip", 20)
    mosaic = lay_out(pictures, cols=5)
    for write in (write_pictures, write_level_1c):
        answer = place.run(write(tmp_path / f"{write.__name__}.tif", mosaic), model=str(package.root))
        found = np.array(table(answer)["probabilities"], np.float32)
        np.testing.assert_array_equal(found, alone(package, np.maximum(pictures, 1)))


def test_a_smooth_map_has_a_pixel_and_a_row_per_stride(smooth):
    assert class_map(smooth).shape == (ROWS * 4, COLS * 4)
    rows = table(smooth)
    assert len(rows["class"]) == ROWS * COLS * 16
    np.testing.assert_allclose(np.array(rows["probabilities"]).sum(axis=1), 1, rtol=1e-5)
    assert smooth.json["tiles"]["planned"] == ROWS * COLS * 16


def test_a_smooth_map_has_the_same_bytes_for_any_number_of_workers(tall, place, package, tmp_path):
    other = Installation(tmp_path, place.environment)
    again = other.run(place.folder / "tall.tif", "--tile-px", 16, "--workers", 1, model=str(package.root))
    assert answers(Path(again.json["product"])) == answers(Path(tall.json["product"]))


def test_the_corner_of_a_smooth_map_is_the_corner_chips_answer(smooth, tiled):
    np.testing.assert_allclose(table(smooth)["probabilities"][0], table(tiled)["probabilities"][0], rtol=1e-5)


def test_verify_lineage_and_resume_know_a_smooth_map(smooth, place):
    run_id = smooth.json["run_id"]
    assert place.swath("verify", run_id, "--all", "--json").json["ok"] is True
    assert place.swath("resume", run_id, "--json").json["state"] == "published"
    trace = place.swath("lineage", run_id, "--lon", 3.001, "--lat", 45.15, "--json").json
    assert trace["operators"] == ["read", "predict-tiles", "blend-tiles"]
    assert sum(trace["tile"]["answer"].values()) == pytest.approx(1, abs=1e-5)


def test_a_damaged_block_masks_the_tiles_whose_chips_need_it(run, place, pictures):
    path = write_pictures(place.folder / "damaged.tif", lay_out(pictures, cols=COLS), block_px=64)
    damage_block(path, 2, 4)  # the last picture
    answer = run("damaged.tif", "--tile-px", 16)
    assert answer.code == 65
    assert answer.json["tiles"]["masked"] == 7 * 7  # its 4 by 4 tiles, and 3 more whose chips reach into it
    assert (class_map(answer) == 255).sum() == 7 * 7


def test_a_contract_whose_chips_overlap_asks_for_a_smooth_map_by_itself(place):
    overlapping = make_classifier(place.folder / "overlapping", stride_px=32)
    planned = place.swath("plan", place.folder / "rgb.tif", "--model", overlapping.root, "--json").json
    assert (planned["tile_px"], planned["tiles"]) == (32, ROWS * COLS * 4)


def test_shards_make_the_same_smooth_map_as_one_process(tall, place, package, tmp_path):
    other = Installation(tmp_path, place.environment)
    with open_site(other.settings()) as site:
        scene = ingest_scene(site, [str(place.folder / "tall.tif")], OpenOptions())
        task = start_run(site, scene, package, request=JobRequest(tile_px=16), out=str(other.out), command="swath run")
    for index in (1, 0):
        words = ("shard", "--run", task.run.id, "--index", index, "--count", 2)
        assert other.module("services.inference", *words).code == 0
    assert other.module("services.inference", "assemble", "--run", task.run.id).code == 0
    assert answers(other.out / task.run.id) == answers(Path(tall.json["product"]))


def test_tiles_that_are_no_part_of_a_chip_are_refused_in_a_sentence(place, package):
    answer = place.run(place.folder / "rgb.tif", "--tile-px", 24, model=str(package.root))
    assert answer.code == 65
    assert "no whole number of tiles" in answer.sentence


@pytest.mark.data
def test_the_real_level_1c_scene_is_refused_for_its_pixels_and_fits_when_resampled(data_dir, place, package):
    scene = data_dir / "scenes" / "S2_L1C_T19UDP_20170729_13band_160m.tif"
    refused = place.run(scene, model=str(package.root))
    assert (refused.code, "--gsd" in refused.sentence) == (65, True)
    planned = place.swath("plan", scene, "--model", package.root, "--gsd", 10, "--json")
    assert planned.json["tiles"] == 172**2  # 687 pixels of 159.8 m


@pytest.fixture(scope="module")
def watched(place: Installation, package: ModelPackage, pictures: np.ndarray) -> ModelPackage:
    """The same network, and what it was "trained" on: the pictures of the scene."""
    tally = Tally(package.contract)
    bands = [Band(name=name, asset=0, bidx=1, dtype="uint8") for name in package.contract.bands]
    norm = plan_normalisation(package.contract, bands)
    chips = np.stack([normalise(one.astype(np.float32), None, norm) for one in pictures])
    tally.see(chips, open_backend(package, name="onnxruntime").predict(chips))
    files = {name: package.read(name) for name in package.files}
    return save_package(place.folder / "watched", {**files, "statistics.json": tally.statistics().encode()})


def test_a_scene_like_the_training_data_is_stable_whatever_its_units(place, watched):
    for scene in ("rgb.tif", "l1c.tif"):
        run_id = place.run(place.folder / scene, model=str(watched.root)).json["run_id"]
        drift = place.swath("drift", run_id, "--json")
        assert (drift.code, drift.json["verdict"]) == (0, "stable")
        assert [(m["name"], m["psi"], m["distance"]) for m in drift.json["measures"][:3]] == [
            ("red", 0, 0),
            ("green", 0, 0),
            ("blue", 0, 0),
        ]


def test_a_scene_of_other_colours_has_drifted_and_says_in_which_band(place, watched, pictures):
    mosaic = lay_out(pictures, cols=COLS).copy()
    mosaic[2] = mosaic[2] // 4 + 190
    run_id = place.run(write_pictures(place.folder / "blue.tif", mosaic), model=str(watched.root)).json["run_id"]
    found = {m["name"]: m for m in place.swath("drift", run_id, "--json").json["measures"]}
    assert (found["red"]["verdict"], found["blue"]["verdict"]) == ("stable", "drifted")
    assert 0.5 < found["blue"]["distance"] <= 1
    shown = place.swath("drift", run_id)
    assert (shown.code, "is not like its model's training data" in shown.out) == (0, True)


def test_a_model_without_statistics_cannot_be_compared_and_says_so(tiled, place):
    answer = place.swath("drift", tiled.json["run_id"])
    assert answer.code == 65
    assert "has no statistics.json of its training data" in answer.sentence


def test_a_runs_statistics_are_in_its_manifest_and_its_item(tiled):
    folder = Path(tiled.json["product"])
    manifest, item = (json.loads((folder / name).read_text()) for name in ("manifest.json", "item.json"))
    body = (folder / "statistics.json").read_bytes()
    assert manifest["files"]["statistics.json"]["sha256"] == hashlib.sha256(body).hexdigest()
    assert item["assets"]["statistics"]["href"] == "./statistics.json"
    assert sum(json.loads(body)["classes"].values()) == ROWS * COLS
