"""What commands make of a model's name, and of a folder that is called so."""

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from services.core.model.package import ModelPackage, load_package, shipped_package
from services.core.model.package_save import save_package
from tests.processes import Answer, answers

Swath = Callable[..., Answer]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder; empty."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def brighter(folder: Path) -> ModelPackage:
    """A package named as the shipped one, with another threshold."""
    shipped = shipped_package("brightness")
    item: dict[str, Any] = json.loads(shipped.read("model.json"))
    item["properties"]["swath:contract"]["threshold"] = 0.6
    return save_package(folder, {"model.json": json.dumps(item).encode(), "card.md": b"# brighter\n"})


def test_the_command_of_a_run_makes_its_map_after_a_promotion_and_beside_a_folder_of_the_name(
    swath: Swath, scene: Path, here: Path, tmp_path: Path
) -> None:
    brighter(here / "brightness")
    made = swath("run", scene, "--model", "brightness", "--tile-px", 64, "--out", tmp_path / "out", "--json").json
    command = json.loads((Path(made["product"]) / "manifest.json").read_text())["command"]
    assert swath("models", "add", here / "brightness").code == 0
    digest = load_package(here / "brightness").digest
    assert swath("models", "promote", digest, "--why", "brighter").code == 0

    again = swath(*shlex.split(command)[1:], "--json").json

    assert f"--model {shipped_package('brightness').pin}" in command
    assert again["model_digest"] == made["model_digest"]
    assert answers(Path(again["product"])) == answers(Path(made["product"]))
    other = swath("run", scene, "--model", "brightness", "--tile-px", 64, "--out", tmp_path / "out", "--json").json
    assert answers(Path(other["product"])) != answers(Path(made["product"]))


def test_a_folder_beside_which_a_shipped_model_was_added_is_told(swath: Swath, here: Path) -> None:
    other = brighter(here / "brightness")
    added = swath("models", "add", "brightness", "--json")
    assert added.json["digest"] == shipped_package("brightness").digest
    assert "for the folder, write ./brightness" in added.sentence
    added = swath("models", "add", "./brightness", "--json")
    assert (added.json["digest"], added.err) == (other.digest, "")


def test_a_shipped_model_that_was_retired_is_refused_by_its_name_and_comes_back(swath: Swath, scene: Path) -> None:
    digest = shipped_package("brightness").digest
    assert swath("models", "promote", "brightness", "--to", "retired", "--why", "too bright").code == 0
    refused = swath("plan", scene, "--model", "brightness")
    assert (refused.code, refused.sentence) == (
        65,
        f"swath: no model brightness is in production here; name a digest, such as {digest[:12]}, or promote one",
    )
    assert swath("plan", scene, "--model", digest[:12]).code == 0
    assert swath("models", "show", "brightness", "--json").json["stage"] == "retired"
    assert swath("models", "promote", "brightness", "--why", "it was the scene").code == 0
    assert swath("plan", scene, "--model", "brightness").code == 0


@pytest.mark.parametrize("out", [".", "../link"])
def test_an_empty_folder_is_filled_whatever_it_is_called_and_stays_the_same(
    swath: Swath, here: Path, tmp_path: Path, out: str
) -> None:
    (tmp_path / "link").symlink_to(here)
    before = here.stat().st_ino
    answer = swath("models", "export", "landcover-l7", "--out", out)
    assert (answer.code, answer.err) == (0, "")
    assert load_package(here).digest == shipped_package("landcover-l7").digest
    assert (here.stat().st_ino, Path.cwd()) == (before, here)
    assert (tmp_path / "link").is_symlink()


def test_a_model_json_that_no_product_could_repeat_is_refused_before_the_run(
    swath: Swath, scene: Path, tmp_path: Path
) -> None:
    shutil.copytree(shipped_package("brightness").root, tmp_path / "odd")
    item = json.loads((tmp_path / "odd" / "model.json").read_text())
    item["assets"]["model"]["roles"] = None
    (tmp_path / "odd" / "model.json").write_text(json.dumps(item))
    answer = swath("run", scene, "--model", tmp_path / "odd", "--out", tmp_path / "out")
    assert (answer.code, "asset model must be an object" in answer.sentence) == (65, True)
    assert not (tmp_path / "out").exists()
