"""Lines go where stderr is when they are written."""

import io
import json
import sys

import pytest

from services.core.log import configure_logging, get_logger


def test_a_line_goes_to_the_stderr_of_its_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    gone, here = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", gone)
    configure_logging("warning")
    log = get_logger("somewhere")
    monkeypatch.setattr(sys, "stderr", here)
    gone.close()

    log.warning("still said", scene="s-1")

    assert json.loads(here.getvalue()) | {"timestamp": ""} == {
        "event": "still said",
        "level": "warning",
        "module": "somewhere",
        "scene": "s-1",
        "timestamp": "",
    }
