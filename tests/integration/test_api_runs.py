"""Large windows of `/infer` become runs: worked on beside the service, and what becomes of them is told."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.cli.serve import RunStarter
from services.core.ingest import ingest_scene
from services.core.model.package import ModelPackage, shipped_package
from services.core.raster.open import OpenOptions
from services.core.records import RunState
from services.core.site import open_site
from tests.models import make_classifier
from tests.processes import LIMIT_S, Installation
from tests.served import Service, serving


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return make_classifier(tmp_path_factory.mktemp("package") / "m")


@contextmanager
def knowing(installation: Installation, package: ModelPackage, scene: Path) -> Iterator[Service]:
    """A service that knows the scene, and answers no window of it at once."""
    assert installation.swath("ingest", scene).code == 0
    with serving(installation, package.root, SWATH_API_INFER_PIXELS="1") as service:
        yield service


def ask(service: Service, model: str = "brightness") -> httpx.Response:
    """About all of its scene."""
    (known,) = service.client.get("/scenes").json()["scenes"]
    question = {"scene_id": known["id"], "bbox": known["bbox"], "model": model}
    return service.client.post("/infer", json=question)


def ended(service: Service, path: str) -> dict[str, Any]:
    """The run, once it goes on no more."""
    deadline = time.monotonic() + LIMIT_S
    while (run := service.client.get(path).json())["state"] not in {"published", "failed"}:
        assert time.monotonic() < deadline, run
        time.sleep(0.02)
    return dict(run)


def test_a_large_window_becomes_a_run_that_is_worked_on(installation, package, scene):
    with knowing(installation, package, scene) as service:
        answer = ask(service)
        assert answer.status_code == 202, answer.text
        assert ended(service, answer.headers["Location"])["state"] == "published"
        service.process.send_signal(signal.SIGTERM)
        assert service.end()[0] == 0


def test_a_run_that_cannot_begin_says_why(installation, package, scene):
    with knowing(installation, package, scene) as service:
        scene.write_bytes(bytes(scene.stat().st_size))
        run = ended(service, ask(service).headers["Location"])
    assert (run["state"], "scene.tif has changed since it was ingested" in run["error"]) == ("failed", True)


def test_no_run_is_started_over_a_file_that_is_gone(installation, package, scene):
    with knowing(installation, package, scene) as service:
        scene.unlink()
        answer = ask(service)
        assert (answer.status_code, service.client.get("/runs").json()["runs"]) == (404, [])
    assert "scene.tif is gone since it was ingested" in answer.json()["detail"]


def test_the_folder_that_the_service_was_started_in_is_nowhere_to_import_from(
    installation, scene, tmp_path, monkeypatch
):
    for name, value in installation.variables().items():
        monkeypatch.setenv(name, value)
    (tmp_path / "queue.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    with open_site(installation.settings()) as site, RunStarter(site) as start:
        known = ingest_scene(site, [str(scene)], OpenOptions())
        run = start(scene_id=known.id, model=shipped_package("brightness").digest, bbox=known.bbox)
        deadline = time.monotonic() + LIMIT_S
        while (state := site.ledger.run_state(run.id)) not in {RunState.PUBLISHED, RunState.FAILED}:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert state is RunState.PUBLISHED
