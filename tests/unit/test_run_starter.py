"""Runs that the service starts: one at a time, also while it is being planned."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from services.api.refusals import BusyError
from services.cli.serve import RunStarter
from services.core.errors import ObjectNotFoundError

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
