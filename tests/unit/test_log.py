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

    said = json.loads(here.getvalue())
    assert (said["event"], said["level"], said["module"]) == ("still said", "warning", "somewhere")
    assert said["scene"] == "s-1"


def test_a_number_that_is_none_leaves_a_line_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info")
    get_logger("somewhere").info("epoch", loss=float("nan"), of=7)
    said = json.loads(capsys.readouterr().err, parse_constant=pytest.fail)
    assert (said["loss"], said["of"]) == ("NaN", 7)
