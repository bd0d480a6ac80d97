"""Runs that the service starts: one at a time, also while it is being planned, and none is left without a word."""

import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from services.api.refusals import BusyError
from services.cli.serve import RunStarter
from services.core.errors import ObjectNotFoundError
from services.core.ingest import ingest_scene
from services.core.model.package import shipped_package
from services.core.raster.open import OpenOptions
from services.core.records import RunState
from services.core.settings import Settings
from services.core.site import Site, open_site
from tests.scenes import write_scene

ASKED: Any = {"scene_id": "s", "model": "m", "bbox": (0.0, 0.0, 1.0, 1.0)}


def test_a_second_run_is_refused_while_the_first_is_planned() -> None:
    planning, go_on = threading.Event(), threading.Event()

    def find(scene_id: str) -> NoReturn:
        planning.set()
        assert go_on.wait(60)
        raise ObjectNotFoundError(f"no scene {scene_id}")

    site: Any = SimpleNamespace(catalog=SimpleNamespace(scene=find))
    with RunStarter(site) as start, ThreadPoolExecutor(1) as pool:
        first = pool.submit(start, **ASKED)
        assert planning.wait(60)
        try:
            with pytest.raises(BusyError):
                start(**ASKED)
        finally:
            go_on.set()
        with pytest.raises(ObjectNotFoundError):
            first.result()
        with pytest.raises(ObjectNotFoundError):  # and no place is lost with it
            start(**ASKED)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_site(Settings(home=tmp_path / "home")) as opened:
        yield opened


def question(site: Site, folder: Path) -> dict[str, Any]:
    scene = ingest_scene(site, [str(write_scene(folder / "scene.tif"))], OpenOptions())
    return {"scene_id": scene.id, "model": shipped_package("brightness").digest, "bbox": scene.bbox}


def worker_is(monkeypatch: pytest.MonkeyPatch, folder: Path, line: str) -> None:
    """A line of shell in place of the worker."""
    script = folder / "worker"
    script.write_text(f"#!/bin/sh\n{line}\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


def test_a_run_whose_worker_cannot_begin_has_failed(site, tmp_path, monkeypatch):
    worker_is(monkeypatch, tmp_path, "exit 78")
    with RunStarter(site) as start:
        run_id = start(**question(site, tmp_path)).id
        deadline = time.monotonic() + 60
        while site.ledger.run_state(run_id) is RunState.PLANNED:
            assert time.monotonic() < deadline, "nobody looked after the worker"
            time.sleep(0.01)
    run = site.catalog.run(run_id)
    assert (run.state, run.error) == (
        RunState.FAILED,
        f"its worker ended with 78 before it was done; go on with: swath resume {run_id}",
    )


def test_a_service_that_ends_leaves_no_run_that_seems_to_go_on(site, tmp_path, monkeypatch):
    worker_is(monkeypatch, tmp_path, "exec sleep 60")
    with RunStarter(site) as start:
        run_id = start(**question(site, tmp_path)).id
    assert site.ledger.run_state(run_id) is RunState.FAILED


def test_what_somebody_else_took_up_is_not_called_failed(site, tmp_path, monkeypatch):
    worker_is(monkeypatch, tmp_path, "exec sleep 60")
    with RunStarter(site) as start:
        run_id = start(**question(site, tmp_path)).id
        site.ledger.claim_unit(run_id, "another-host:1:1.0")
    assert site.ledger.run_state(run_id) is RunState.PLANNED
