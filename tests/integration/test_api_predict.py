"""`/predict` over HTTP: what comes back, what is refused, and that a scene's run says the same."""

import asyncio
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from fastapi import FastAPI
from structlog.testing import capture_logs

from services.api import predict
from services.api.app import create_app
from services.core.errors import PackageError
from services.core.model.package import ModelPackage
from services.core.settings import Settings
from services.core.site import open_site
from tests.live_app import live
from tests.models import PICTURE_CLASSES, make_classifier
from tests.processes import Installation
from tests.served import encode, make_pixels

JPEG, PNG = "image/jpeg", "image/png"
MOST_BYTES = 200_000


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return make_classifier(tmp_path_factory.mktemp("package") / "m")


@pytest.fixture(scope="module")
def client(package: ModelPackage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    limits = {"api_max_body_bytes": MOST_BYTES, "api_max_pixels": 10**6, "api_max_batch": 10}
    with serve(package, tmp_path_factory.mktemp("home"), **limits) as client:
        yield client


@pytest.fixture(scope="module")
def roomy(package: ModelPackage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Takes bodies as large as they come by default."""
    with serve(package, tmp_path_factory.mktemp("home")) as client:
        yield client


@contextmanager
def serve(package: ModelPackage, home: Path, **limits: int) -> Iterator[httpx.Client]:
    settings = Settings(home=home, api_model=str(package.root), backend="onnxruntime", **limits)
    with (
        open_site(settings) as site,
        live(create_app(site)) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        yield client


def ask(client: httpx.Client, body: bytes, kind: str = JPEG) -> httpx.Response:
    return client.post("/predict", content=body, headers={"Content-Type": kind})


def test_an_image_gets_its_class_and_all_probabilities(client, package):
    answer = ask(client, encode(make_pixels())).json()
    assert list(answer["probabilities"]) == list(PICTURE_CLASSES)
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-6)
    assert answer["class"] == max(answer["probabilities"], key=answer["probabilities"].get)
    assert answer["model"] == {"name": "chance-rgb", "digest": package.digest, "stage": None}


def test_a_form_answers_as_the_raw_body_does(client):
    body = encode(make_pixels())
    form = client.post("/predict", files={"file": ("x.jpg", body, JPEG)}).json()
    assert form["probabilities"] == ask(client, body).json()["probabilities"]


def test_a_batch_answers_in_order_and_as_single_images_do(client):
    bodies = [encode(make_pixels(seed=seed)) for seed in range(9)]
    batch = client.post("/predict/batch", files=[("files", ("x.jpg", body, JPEG)) for body in bodies]).json()
    single = [ask(client, body).json()["probabilities"] for body in bodies]
    assert [item["probabilities"] for item in batch["results"]] == single


def test_a_batch_of_more_images_than_a_caller_may_send_at_once_waits_and_is_answered(package, tmp_path):
    files = [("files", ("x.jpg", encode(make_pixels()), JPEG))] * 4
    with serve(package, tmp_path, api_rate_per_s=8, api_rate_burst=3) as client:
        statuses = [client.post("/predict/batch", files=files).status_code]
        while statuses.count(200) < 2 and len(statuses) < 5:  # a word for the request, and one for its images
            answer = client.post("/predict/batch", files=files)
            time.sleep(answer.json().get("retry_after_ms", 0) / 1000)
            statuses.append(answer.status_code)
    assert (statuses[0], statuses[-1]) == (200, 200)


def test_probes_and_images_wait_for_no_thread_that_a_catalog_holds_up(package, tmp_path):
    async def ask_all(app: FastAPI) -> list[int]:
        threads = anyio.to_thread.current_default_thread_limiter()
        for _ in range(int(threads.total_tokens)):
            threads.acquire_on_behalf_of_nowait(object())
        transport = httpx.ASGITransport(app=app)
        async with (
            asyncio.timeout(60),
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
        ):
            answers = [await client.get(path) for path in ("/health/live", "/health/ready", "/metrics")]
            answers += [await client.post("/predict", content=encode(make_pixels(side=side))) for side in (64, 400)]
            answers.append(await client.post("/predict/batch", files={"files": ("x.jpg", encode(make_pixels()), JPEG)}))
        return [each.status_code for each in answers]

    with open_site(Settings(home=tmp_path, api_model=str(package.root), backend="onnxruntime")) as site:
        assert asyncio.run(ask_all(create_app(site))) == [200] * 6


def test_one_bad_image_does_not_spoil_the_batch(client):
    good, bad = encode(make_pixels()), encode(make_pixels())[:300]
    batch = client.post("/predict/batch", files=[("files", ("x.jpg", body, JPEG)) for body in (good, bad, good)])
    first, second, third = batch.json()["results"]
    assert first["class"] == third["class"]
    assert second["problem"]["status"] == 422


def test_what_fails_here_with_one_image_of_a_batch_is_in_the_log(client, monkeypatch):
    def fail(*_):
        raise PackageError("the weights went away")

    monkeypatch.setattr(predict, "_checked", fail)
    with capture_logs() as lines:
        batch = client.post("/predict/batch", files=[("files", ("x.jpg", encode(make_pixels()), JPEG))] * 2).json()
    assert [item["problem"]["status"] for item in batch["results"]] == [500, 500]
    failures = [line for line in lines if line["event"] == "request failed"]
    assert [line["request_id"] for line in failures] == [batch["request_id"]] * 2
    assert "went away" in failures[0]["error"]


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")  # of the network, on purpose
def test_an_image_without_an_answer_is_refused_in_a_sentence(tmp_path):
    numberless = make_classifier(tmp_path / "numberless", mean=(1e30,) * 3, std=(1e-30,) * 3)
    with serve(numberless, tmp_path / "home") as client:
        response = ask(client, encode(make_pixels()))
    assert (response.status_code, response.json()["type"]) == (422, "urn:swath:problem:image")
    assert "has no number for this image" in response.json()["detail"]


def test_a_batch_of_too_many_images_is_refused(client):
    response = client.post("/predict/batch", files=[("files", ("x.jpg", b"x", JPEG))] * 11)
    assert response.status_code == 413


def test_a_larger_image_gets_the_mean_over_its_chips(client):
    whole = make_pixels(side=128)
    parts = [whole[row : row + 64, col : col + 64] for row in (0, 64) for col in (0, 64)]
    single = [list(ask(client, encode(part, "PNG"), PNG).json()["probabilities"].values()) for part in parts]
    answer = ask(client, encode(whole, "PNG"), PNG).json()
    np.testing.assert_allclose(list(answer["probabilities"].values()), np.mean(single, axis=0), rtol=1e-6)


def bomb(width: int, height: int) -> bytes:
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(10**6), 9)
    chunks = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (head, data)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


FIELD = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
FILE = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + encode(make_pixels()) + b"\r\n"
END = b"--x--\r\n"


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (encode(make_pixels())[:400], JPEG, 422),
        (encode(make_pixels(side=1), "PNG"), PNG, 422),
        (b"", JPEG, 422),
        (bomb(50_000, 50_000), PNG, 413),
        (bomb(500, 500)[:600], PNG, 422),
        (encode(make_pixels()), PNG, 415),
        (encode(make_pixels()), "text/plain", 415),
        (b"hello", JPEG, 415),
        (b"II*\x00" + bytes(300), "image/tiff", 422),
        (bytes(MOST_BYTES + 1), JPEG, 413),
        (b"--x\r\nnonsense", "multipart/form-data; boundary=x", 422),
        (b"x", "multipart/form-data", 422),
        (FILE + END, "multipart/form-data; boundary=x; charset=undefined", 422),
        (FILE + END, "multipart/form-data; boundary=x; charset=punycode", 422),
    ],
)
def test_what_is_no_usable_image_gets_one_sentence(client, body, kind, status):
    response = ask(client, body, kind)
    problem = response.json()
    assert (response.status_code, problem["status"]) == (status, status)
    assert response.headers["Content-Type"] == "application/problem+json"
    assert problem["request_id"] == response.headers["X-Request-ID"]
    assert not any(word in problem["detail"] for word in ("/tmp", "/home", "vsimem", "Traceback"))


@pytest.mark.parametrize(
    ("form", "status", "said"),
    [
        (FILE + END, 200, ""),
        (FILE + FIELD % (b"a", b"b") * 8 + END, 200, ""),
        (FILE + FIELD % (b"a", b"b") * 9 + END, 422, "8 text fields"),
        (FILE + FILE + END, 413, "1 images"),
        (FIELD % (b"a", bytes(2**20 + 1)) + FILE + END, 413, "a text field of the form is larger"),
        (FILE[:300], 422, "cut short: its last boundary is missing"),
        (FILE, 422, "cut short: its last boundary is missing"),
        (FIELD % (b"a", b"b") + END, 422, "no file in a field named `file`"),
    ],
)
def test_a_form_that_cannot_be_used_is_told_what_is_wrong_with_it(roomy, form, status, said):
    response = ask(roomy, form, "multipart/form-data; boundary=x")
    assert response.status_code == status
    assert said in response.json().get("detail", "")


def test_a_tiff_beyond_the_limit_is_too_large_as_a_png_is(client):
    transform = rasterio.Affine(10, 0, 5e5, 0, -10, 49e5)
    shape = {"width": 30_000, "height": 30_000, "count": 3, "dtype": "uint8", "transform": transform}
    with rasterio.MemoryFile() as memory:
        with memory.open(driver="GTiff", sparse_ok=True, tiled=True, blockxsize=1024, blockysize=1024, **shape):
            pass  # no pixel of it is written
        response = ask(client, memory.read(), "image/tiff")
    assert (response.status_code, response.json()["type"]) == (413, "urn:swath:problem:too-large")


def test_a_body_of_unsaid_length_is_stopped_at_the_limit(client):
    parts = (bytes(50_000) for _ in range(5))
    assert client.post("/predict", content=parts, headers={"Content-Type": JPEG}).status_code == 413


@pytest.mark.parametrize(("given", "kept"), [("job-7.a", True), ("a b", False), ('"}', False), ("x" * 65, False)])
def test_a_sane_request_id_is_echoed_and_another_replaced(client, given, kept):
    headers = {"Content-Type": JPEG, "X-Request-ID": given}
    response = client.post("/predict", content=encode(make_pixels()), headers=headers)
    assert (response.headers["X-Request-ID"] == given) is kept
    assert response.json()["request_id"] == response.headers["X-Request-ID"]


def test_unknown_addresses_and_methods_are_problems_too(client):
    answers = [client.get("/nope"), client.get("/predict")]
    assert [each.status_code for each in answers] == [404, 405]
    assert all(each.headers["Content-Type"] == "application/problem+json" for each in answers)


def test_metrics_know_routes_and_model_but_no_address_of_the_callers(client, package):
    client.get("/nope/4711")
    text = client.get("/metrics").text
    assert f'digest="{package.digest}"' in text
    assert 'route="unmatched"' in text
    assert "4711" not in text


def test_the_documents_are_whole_without_the_internet(client):
    assert "http" not in client.get("/docs").text.replace("http-equiv", "")
    assert len(client.get("/docs/swagger-ui-bundle.js").content) > 10**6
    assert "/predict" in client.get("/openapi.json").json()["paths"]


TRANSFORM = rasterio.Affine(10, 0, 5e5, 0, -10, 49e5)


def write_tiff(path: Path, pixels: np.ndarray) -> Path:
    """(H, W, 3) as a GeoTIFF whose black is nodata."""
    height, width, _ = pixels.shape
    profile = {"driver": "GTiff", "count": 3, "height": height, "width": width, "dtype": "uint8", "nodata": 0}
    with rasterio.open(path, "w", crs="EPSG:32631", transform=TRANSFORM, photometric="RGB", **profile) as target:
        target.write(pixels.transpose(2, 0, 1))
    return path


def lacking(pixels: np.ndarray) -> np.ndarray:
    """The upper tiles without their left half, the lower ones without one side of a slanted edge."""
    row, col = np.indices(pixels.shape[:2])
    gone = np.where(row < 64, col % 64 < 32, (col > row) ^ (col > 96))
    return np.where(gone[..., None], 0, pixels)


@pytest.mark.parametrize("hide", [np.array, lacking], ids=["whole", "half"])
def test_a_run_over_a_scene_and_predict_agree_on_every_tile(client, package, tmp_path: Path, hide):
    pixels, place = hide(make_pixels(side=128).clip(1)), Installation(tmp_path)
    scene = write_tiff(tmp_path / "scene.tif", pixels)
    run = place.run(scene, model=str(package.root), SWATH_BACKEND="onnxruntime").json
    table = pq.read_table(Path(run["product"]) / "tiles.parquet").to_pylist()
    assert len(table) == 4
    for tile in table:
        row, col = 64 * tile["row"], 64 * tile["col"]
        cut = pixels[row : row + 64, col : col + 64]
        clear = np.dstack([cut, 255 * cut.any(axis=2).astype(np.uint8)])
        asked = [ask(client, encode(clear, "PNG"), PNG)]
        asked.append(ask(client, write_tiff(tmp_path / "chip.tif", cut).read_bytes(), "image/tiff"))
        for answer in asked:
            ours = np.array(list(answer.json()["probabilities"].values()), np.float32)
            np.testing.assert_array_equal(ours, np.array(tile["probabilities"], np.float32))
