"""What people see is what they named, letter by letter."""

import json
import math
from pathlib import Path

import pytest

from services.cli import output
from services.cli.show import scene_json
from services.cli.train import _image_epochs
from services.core.raster.open import open_scene
from services.core.records import Scene
from tests.rasters import ramp, write_raster

NAMES = ["a[/b]", "[final] out", "[red]x", ":smile:", "[link=http://x]y"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_looks_like_markup_is_printed_as_it_is(name, capsys):
    output.say(f" at {name}", lead=name)
    output.note(f"no {name}")
    output.print_facts({"out": name, name: 1})
    output.print_table(["what", "out"], [[name, name]])
    out, err = capsys.readouterr()
    assert out.count(name) == 6
    assert err == f"no {name}\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_bar_shows_a_name_that_looks_like_markup_as_it_is(name, monkeypatch, capsys):
    monkeypatch.setattr(output.notes, "_force_terminal", True)
    monkeypatch.setattr(output.notes, "_width", 200)
    with output.tile_progress(name, 4) as advance:
        advance(4, 0)
    assert name in capsys.readouterr().err


def test_the_bar_of_a_training_moves_before_its_first_epoch_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output.notes, "_force_terminal", True)
    monkeypatch.setattr(output.notes, "_width", 200)
    with _image_epochs() as progress:
        progress.after_step("training", 0.5, 4)
    assert "training" in (told := capsys.readouterr().err)
    assert "0/4" in told


def test_a_scene_whose_nodata_is_no_number_is_told_as_the_catalog_keeps_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = open_scene([str(write_raster(tmp_path / "a.tif", ramp((2, 2), "float32"), nodata=math.nan))])

    output.print_json({"scenes": [scene_json(scene)], "worst": [math.inf, -math.inf, 1.5]})

    told = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert told["worst"] == ["Infinity", "-Infinity", 1.5]
    assert told["scenes"][0]["bands"][0]["nodata"] == "NaN"
    assert math.isnan(Scene.model_validate(told["scenes"][0]).bands[0].nodata or 0)
