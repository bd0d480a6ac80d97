"""The whole API against its own OpenAPI document, by schemathesis: every answer is a documented one."""

import threading
from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from services.api.app import create_app
from services.api.options import ApiOptions
from services.core.catalog.keys import Keys
from services.core.ingest import ingest_scene
from services.core.job import JobRequest
from services.core.model.package import shipped_package
from services.core.raster.open import OpenOptions
from services.core.settings import Settings
from services.core.site import open_site
from services.inference.runs import complete, start_run
from tests.live_app import live
from tests.models import make_classifier
from tests.scenes import write_scene
from tests.served import encode, make_pixels

OPERATIONS = [
    "POST /predict",
    "POST /predict/batch",
    "POST /infer",
    "GET /scenes",
    "GET /scenes/{scene_id}",
    "GET /runs",
    "GET /runs/{run_id}",
    "GET /runs/{run_id}/lineage",
    "GET /models",
    "GET /models/{model_id}",
    "GET /health/live",
    "GET /health/ready",
    "GET /metrics",
]
TAKE_NOTHING = ("GET /health/live", "GET /health/ready", "GET /metrics")
#: A schema cannot say that an image must be large enough, a cursor ours, or that exactly one of two names a scene.
MAY_REFUSE = [positive_data_acceptance]
BOUNDED = settings(
    max_examples=25,
    derandomize=True,  # the same requests each time
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    database=None,
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address and key of a service that wants keys, and knows one scene and a run over it."""
    folder = tmp_path_factory.mktemp("schema")
    model = make_classifier(folder / "chance-rgb")
    with open_site(
        Settings(
            home=folder / "home",
            api_model=str(model.root),
            api_auth="keys",
            api_infer_pixels=100_000,  # fewer than the scene has
            backend="onnxruntime",
        )
    ) as site:
        scene = ingest_scene(site, [str(write_scene(folder / "scene.tif"))], OpenOptions())
        task = start_run(
            site, scene, shipped_package("brightness"), request=JobRequest(), out=str(folder), command="swath run"
        )
        complete(site, task, stop=threading.Event())
        _, key = Keys(site.catalog).create("schema")
        with live(create_app(site, ApiOptions(start_run=lambda **_: task.run))) as address:
            yield address, key


@pytest.fixture(scope="module")
def document(served):
    return schemathesis.openapi.from_url(f"{served[0]}/openapi.json")


def test_no_operation_is_left_out(document):
    assert sorted(each.ok().label for each in document.get_all_operations()) == sorted(OPERATIONS)


@pytest.mark.parametrize(
    ("operation", "mode"),
    [(each, mode) for mode in GenerationMode for each in OPERATIONS if mode.is_positive or each not in TAKE_NOTHING],
)
def test_every_answer_is_documented(document, served, operation, mode):
    method, path = operation.split()

    @BOUNDED
    @given(case=document[path][method].as_strategy(generation_mode=mode))
    def ask(case: Case) -> None:
        case.call_and_validate(headers={"Authorization": f"Bearer {served[1]}"}, excluded_checks=MAY_REFUSE)

    ask()


@pytest.mark.parametrize("operation", OPERATIONS)
def test_methods_that_no_route_has_are_refused_with_a_problem(served, operation):
    answer = httpx.request("TRACE", served[0] + operation.split()[1])
    assert (answer.status_code, answer.headers["content-type"]) == (405, "application/problem+json")


IMAGE = encode(make_pixels())
WINDOW = {"item_id": "scene", "model": "brightness"}


@pytest.mark.parametrize(
    ("operation", "parts", "status"),
    [
        ("POST /predict", {"media_type": "image/jpeg", "body": IMAGE}, 200),
        ("POST /predict", {"media_type": "multipart/form-data", "body": {"file": IMAGE}}, 200),
        ("POST /predict/batch", {"media_type": "multipart/form-data", "body": {"files": [IMAGE, b"none"]}}, 200),
        ("POST /infer", {"body": {**WINDOW, "bbox": [3.01, 45.13, 3.03, 45.14]}}, 200),
        ("POST /infer", {"body": {**WINDOW, "bbox": [-180, -90, 180, 90]}}, 202),
        ("GET /scenes", {}, 200),
        ("GET /scenes/{scene_id}", {}, 200),
        ("GET /runs", {}, 200),
        ("GET /runs/{run_id}", {}, 200),
        ("GET /runs/{run_id}/lineage", {"query": {"lon": 3.02, "lat": 45.14}}, 200),
        ("GET /models", {}, 200),
        ("GET /models/{model_id}", {}, 200),
    ],
)
def test_what_is_answered_about_real_things_is_documented(document, served, operation, parts, status):
    headers = {"Authorization": f"Bearer {served[1]}"}
    (scene,) = httpx.get(f"{served[0]}/scenes", headers=headers).json()["scenes"]
    (run,) = httpx.get(f"{served[0]}/runs", headers=headers).json()["runs"]
    ids = {"scene_id": scene["id"], "run_id": run["id"], "model_id": "brightness"}
    method, path = operation.split()
    named = {name: text for name, text in ids.items() if name in path}
    case = document[path][method].Case(path_parameters=named, **parts)
    assert case.call_and_validate(headers=headers).status_code == status
