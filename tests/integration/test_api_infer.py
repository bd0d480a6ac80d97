"""`POST /infer` and lineage: the pixels of a run's map, and nothing that a request names is ever opened."""

import base64
import errno
import io
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from fastapi import FastAPI
from PIL import Image
from structlog.testing import capture_logs

from services.api.app import create_app
from services.api.infer import top_class
from services.api.options import ApiOptions
from services.core.area import Area
from services.core.boxes import BBox
from services.core.errors import UnreadableSceneError
from services.core.grid import Window
from services.core.ingest import ingest_scene
from services.core.job import JobRequest
from services.core.lineage import trace_pixel
from services.core.model.package import ModelPackage, shipped_package
from services.core.raster.open import OpenOptions
from services.core.raster.read import SceneReader
from services.core.records import Product, Run, Scene
from services.core.settings import Settings
from services.core.site import Site, open_site
from services.core.storage import files
from services.inference.runs import complete, start_run
from tests.asgi import call
from tests.catalogs import run as run_record
from tests.models import make_classifier
from tests.scenes import (
    LANDSAT_NAMES,
    Look,
    lay_out,
    made_pictures,
    write_landsat,
    write_pictures,
    write_scene,
)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_site(Settings(home=tmp_path / "home", backend="onnxruntime", workers=1)) as opened:
        yield opened


@pytest.fixture
def app(site: Site) -> FastAPI:
    return create_app(site)


@pytest.fixture
def scene(site: Site, tmp_path: Path) -> Scene:
    """300 by 400 pixels of 30 m, six bands."""
    return ingest_scene(site, [str(write_landsat(tmp_path / "landsat.tif"))], OpenOptions())


def box_of(scene: Scene, *, part: float = 0.4) -> list[float]:
    """A box around the middle of a scene, in degrees."""
    assert scene.bbox is not None
    west, south, east, north = scene.bbox
    x, y, wide, high = (west + east) / 2, (south + north) / 2, (east - west) * part / 2, (north - south) * part / 2
    return [x - wide, y - high, x + wide, y + high]


def publish(site: Site, scene: Scene, package: ModelPackage, out: Path) -> tuple[Run, Product]:
    """What a batch run of the same scene and model says."""
    task = start_run(site, scene, package, request=JobRequest(), out=str(out), command="swath run")
    outcome = complete(site, task, stop=threading.Event())
    return outcome.run, outcome.product


def decode(picture: str) -> np.ndarray:
    """The class of each cell of an answer's picture."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2]))))


def cells_of(answer: dict, scale: float) -> tuple[slice, slice]:
    """Where an answer's cells lie in a map whose pixels are `scale` cells."""
    top, left = (int(answer["window"][off] / answer["cell_px"]) for off in ("row_off", "col_off"))
    height, width = answer["shape"]
    return slice(int(top * scale), int((top + height) * scale)), slice(int(left * scale), int((left + width) * scale))


def test_a_segmentation_answers_with_the_pixels_of_the_map(site, app, scene, tmp_path):
    _, product = publish(site, scene, shipped_package("landcover-l7"), tmp_path / "out")
    body = {"scene_id": scene.id, "bbox": box_of(scene), "model": "landcover-l7"}
    answer = call(app, "POST", "/infer", json=body).json()
    with rasterio.open(f"{product.href}/map.tif") as dataset:
        expected = dataset.read(1)[cells_of(answer, 1)]
    np.testing.assert_array_equal(decode(answer["picture"]), expected)
    shares = {each["value"]: each["fraction"] for each in answer["classes"]}
    assert shares[int(np.bincount(expected.ravel()).argmax())] == max(shares.values())


def test_a_threshold_answers_with_the_tiles_of_the_map(site, app, scene, tmp_path):
    _, product = publish(site, scene, shipped_package("brightness"), tmp_path / "out")
    body = {"scene_id": scene.id, "bbox": box_of(scene), "model": "brightness"}
    answer = call(app, "POST", "/infer", json=body).json()
    with rasterio.open(f"{product.href}/map.tif") as dataset:
        expected = dataset.read(1)[cells_of(answer, answer["cell_px"])][:: int(answer["cell_px"]), ::256]
    np.testing.assert_array_equal(decode(answer["picture"]), expected)
    assert 0 < answer["score"] < 1


@pytest.mark.parametrize(
    ("signs", "first"),
    [
        ((1, -1), [[0, 1], [1, 1]]),
        ((1, 1), [[1, 1], [0, 1]]),
        ((-1, -1), [[1, 0], [1, 1]]),
        ((-1, 1), [[1, 1], [1, 0]]),
    ],
)
def test_the_picture_has_north_on_top_however_the_rows_run(site, app, tmp_path, signs, first):
    pixels = np.full((6, 512, 512), 240, np.uint8)
    pixels[:, :256, :256] = 10  # the scene's first tile is the only dark one
    look = Look(shape=(512, 512), names=LANDSAT_NAMES, dtype="uint8", gsd_m=30.0)
    path = write_scene(tmp_path / "scene.tif", look, pixels=pixels)
    with rasterio.open(path, "r+") as dataset:
        dataset.transform = dataset.transform @ rasterio.Affine.scale(signs[0], -signs[1])
    scene = ingest_scene(site, [str(path)], OpenOptions())
    body = {"scene_id": scene.id, "bbox": [-180, -90, 180, 90], "model": "brightness"}
    np.testing.assert_array_equal(decode(call(app, "POST", "/infer", json=body).json()["picture"]), first)


def test_tiles_at_the_edge_count_by_their_pixels(site, app, tmp_path):
    pixels = np.full((6, 260, 400), 90, np.uint8)
    pixels[:, 256:] = 0  # the last row of tiles is 4 pixels high, and all of it is missing
    look = Look(shape=(260, 400), names=LANDSAT_NAMES, dtype="uint8", gsd_m=30.0, nodata=0)
    scene = ingest_scene(site, [str(write_scene(tmp_path / "edge.tif", look, pixels=pixels))], OpenOptions())
    body = {"scene_id": scene.id, "bbox": [-180, -90, 180, 90], "model": "brightness"}
    answer = call(app, "POST", "/infer", json=body).json()
    assert answer["valid_fraction"] == pytest.approx(256 / 260, abs=1e-6)


def test_a_classification_answers_with_the_tiles_of_the_map(site, app, tmp_path):
    package = make_classifier(tmp_path / "chance-rgb")
    site.models.keep(package)
    mosaic = lay_out(made_pictures(12), cols=4)
    scene = ingest_scene(site, [str(write_pictures(tmp_path / "mosaic.tif", mosaic))], OpenOptions())
    _, product = publish(site, scene, package, tmp_path / "out")
    body = {"scene_id": scene.id, "bbox": box_of(scene), "model": package.digest}
    answer = call(app, "POST", "/infer", json=body).json()
    with rasterio.open(f"{product.href}/map.tif") as dataset:
        expected = dataset.read(1)[cells_of(answer, 1)]
    np.testing.assert_array_equal(decode(answer["picture"]), expected)
    assert sum(each["probability"] for each in answer["classes"]) == pytest.approx(1, abs=1e-5)


def test_a_disk_that_fails_is_no_damaged_scene(site, app, scene, monkeypatch):
    body = {"scene_id": scene.id, "bbox": box_of(scene), "model": "brightness"}
    expected, read, left = call(app, "POST", "/infer", json=body).json(), SceneReader.read, iter([True, True])

    def fail_once(reader, window):
        if next(left, False):
            raise UnreadableSceneError("landsat.tif is damaged")
        return read(reader, window)

    def away(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(SceneReader, "read", fail_once)
    with monkeypatch.context() as disk:
        disk.setattr(files.hashlib, "file_digest", away)
        assert call(app, "POST", "/infer", json=body).status_code == 503
    assert call(app, "POST", "/infer", json=body).json()["classes"] == expected["classes"]


@pytest.mark.parametrize(("levels", "said"), [((10, 60), "dark"), ((10, 200), "bright"), ((200, 10), "bright")])
def test_of_two_classes_with_as_many_cells_the_mean_score_names_the_first(site, app, tmp_path, levels, said):
    halves = np.repeat(np.repeat(np.array([levels], np.uint8), 256, axis=0), 256, axis=1)
    path = write_pictures(tmp_path / "halves.tif", np.stack([halves] * 3))
    scene = ingest_scene(site, [str(path)], OpenOptions())
    answer = call(app, "POST", "/infer", json={"scene_id": scene.id, "bbox": box_of(scene), "model": "brightness"})
    assert [each["fraction"] for each in answer.json()["classes"]] == [0.5, 0.5]
    assert answer.json()["top"] == said


def test_of_classes_with_as_many_cells_the_likelier_one_is_the_first():
    contract = shipped_package("landcover-l7").contract
    names = [each.name for each in contract.classes]
    counts = np.array([1, 3, 3, *([0] * (len(names) - 3))])
    means = dict.fromkeys(names, 0.01) | {names[0]: 0.5, names[1]: 0.2, names[2]: 0.25}
    cells = Window(row_off=0, col_off=0, height=1, width=7)
    area = Area(window=cells, cells=cells, step=1, classes=np.zeros((1, 7), np.uint8), means=means, valid_fraction=1)
    assert top_class(contract, counts, area).name == names[2]


def test_an_item_is_found_by_its_own_id_too(app, scene):
    by_id = {"scene_id": scene.id, "bbox": box_of(scene, part=0.1), "model": "brightness"}
    by_item = {**by_id, "item_id": scene.title}
    del by_item["scene_id"]
    assert call(app, "POST", "/infer", json=by_id).json() == call(app, "POST", "/infer", json=by_item).json()


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"scene_id": "nosuch"}, 404),
        ({"scene_id": "/etc/passwd"}, 422),
        ({"scene_id": "s3://bucket/scene.tif"}, 422),
        ({"scene_id": None, "item_id": "/vsicurl/http://127.0.0.1/x.tif"}, 404),
        ({"scene_id": None}, 422),
        ({"item_id": "both"}, 422),
        ({"model": "../packages"}, 422),
        ({"model": "services"}, 404),
        ({"model": "nosuch"}, 404),
        ({"model": shipped_package("brightness").digest[:12]}, 404),
        ({"bbox": [8, 45, 8, 45]}, 422),
        ({"bbox": [0, 91, 1, 92]}, 422),
        ({"bbox": [-170, -80, -169, -79]}, 422),
        ({"bbox": ["nan", 0, 1, 1]}, 422),
        ({"bbox": [0, 0, 1]}, 422),
        ({"path": "/etc/passwd"}, 422),
    ],
)
def test_what_cannot_be_answered_is_refused_in_a_sentence(app, scene, changes, status):
    body = {"scene_id": scene.id, "bbox": box_of(scene), "model": "brightness", **changes}
    answer = call(app, "POST", "/infer", json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["detail"]


def test_a_model_for_other_bands_or_pixels_is_refused(site, app, tmp_path):
    mosaic = lay_out(made_pictures(4), cols=2)
    scene = ingest_scene(site, [str(write_pictures(tmp_path / "mosaic.tif", mosaic))], OpenOptions())
    answer = call(app, "POST", "/infer", json={"scene_id": scene.id, "bbox": box_of(scene), "model": "landcover-l7"})
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:swath:problem:contract")
    assert answer.json()["detail"].endswith("; ask a model that works with these")


@pytest.mark.parametrize("body", [b'{"scene_id": ', b"nonsense", b"\xff"])
def test_a_body_that_is_no_json_is_400(app, body):
    answer = call(app, "POST", "/infer", content=body, headers={"Content-Type": "application/json"})
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (400, "urn:swath:problem:request")
    assert problem["detail"].startswith("the body cannot be read as what its Content-Type says")


def test_the_log_says_how_much_of_a_body_came_also_where_its_head_does_not(app):
    async def parts() -> AsyncIterator[bytes]:
        yield b"non"
        yield b"sense"

    with capture_logs() as lines:
        call(app, "POST", "/infer", content=parts(), headers={"Content-Type": "application/json"})
    assert [line["bytes"] for line in lines if line["event"] == "request"] == [8]


def test_a_large_window_becomes_a_run(site, scene):
    started = []

    def start(*, scene_id: str, model: str, bbox: BBox) -> Run:
        started.append((scene_id, model, bbox))
        return run_record("r-20260102T030405-a1b2c3")

    small = Site(site.settings.model_copy(update={"api_infer_pixels": 100}), site.store, site.catalog, site.ledger)
    body = {"scene_id": scene.id, "bbox": box_of(scene), "model": "brightness"}
    answer = call(create_app(small, ApiOptions(start_run=start)), "POST", "/infer", json=body)
    assert (answer.status_code, answer.headers["location"]) == (202, "/runs/r-20260102T030405-a1b2c3")
    assert started == [(scene.id, shipped_package("brightness").digest, tuple(box_of(scene)))]


def test_a_large_window_is_refused_in_the_words_of_a_small_one(site, app, tmp_path):
    mosaic = lay_out(made_pictures(4), cols=2)
    scene = ingest_scene(site, [str(write_pictures(tmp_path / "mosaic.tif", mosaic))], OpenOptions())
    tiny = Site(site.settings.model_copy(update={"api_infer_pixels": 1}), site.store, site.catalog, site.ledger)
    body = {"scene_id": scene.id, "bbox": box_of(scene), "model": "landcover-l7"}
    small, large = (call(each, "POST", "/infer", json=body) for each in (app, create_app(tiny)))
    assert (large.status_code, large.json()["detail"]) == (422, small.json()["detail"])


def test_where_no_runs_are_started_a_large_window_is_refused(site, scene):
    small = Site(site.settings.model_copy(update={"api_infer_pixels": 100}), site.store, site.catalog, site.ledger)
    body = {"scene_id": scene.id, "bbox": box_of(scene), "model": "brightness"}
    answer = call(create_app(small), "POST", "/infer", json=body)
    assert answer.status_code == 422
    assert "swath run" in answer.json()["detail"]


def test_more_windows_than_places_are_answered_503(app, scene):
    windows = app.state.windows
    body = {"scene_id": scene.id, "bbox": box_of(scene), "model": "brightness"}
    with windows.slot(), windows.slot():
        busy = call(app, "POST", "/infer", json=body)
    assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")
    assert call(app, "POST", "/infer", json=body).status_code == 200


def test_a_scene_whose_file_is_gone_is_told_without_its_path(app, scene):
    Path(scene.source).unlink()
    answer = call(app, "POST", "/infer", json={"scene_id": scene.id, "bbox": box_of(scene), "model": "brightness"})
    assert answer.status_code == 404
    assert str(Path(scene.source).parent) not in answer.text


def test_lineage_is_what_the_command_says(site, app, scene, tmp_path):
    run, _ = publish(site, scene, shipped_package("brightness"), tmp_path / "out")
    west, south, east, north = box_of(scene)
    place = {"lon": (west + east) / 2, "lat": (south + north) / 2}
    answer = call(app, "GET", f"/runs/{run.id}/lineage", params=place)
    said = trace_pixel(site, run.id, **place)
    assert answer.status_code == 200
    assert {**answer.json(), "scene": None} == {**said, "scene": None}
    assert answer.json()["sources"] == [{"href": scene.assets[0].href, "sha256": scene.assets[0].sha256}]


@pytest.mark.parametrize(("lon", "lat"), [(100, 0), (-170, 80)])
def test_lineage_of_a_place_outside_is_refused(site, app, scene, tmp_path, lon, lat):
    run, _ = publish(site, scene, shipped_package("brightness"), tmp_path / "out")
    answer = call(app, "GET", f"/runs/{run.id}/lineage", params={"lon": lon, "lat": lat})
    assert (answer.status_code, "outside" in answer.json()["detail"]) == (422, True)


def test_lineage_of_a_run_that_has_not_come_there_is_404(site, app, scene, tmp_path):
    task = start_run(
        site, scene, shipped_package("brightness"), request=JobRequest(), out=str(tmp_path / "out"), command="swath run"
    )
    west, south, east, north = box_of(scene)
    place = {"lon": (west + east) / 2, "lat": (south + north) / 2}
    answer = call(app, "GET", f"/runs/{task.run.id}/lineage", params=place)
    assert (answer.status_code, "resume" in answer.json()["detail"]) == (404, True)
