"""An installation without some of Swath's extras: what works all the same, and what is said of the rest."""

import subprocess
import sys
from pathlib import Path

import pytest

from services.core.model.package import shipped_package
from tests.classifiers import image_bytes, write_folder
from tests.processes import ROOT, Answer, Installation

#: A module that is None here is not installed, to `import` and to `find_spec` alike.
WITHOUT = "import sys; sys.modules.update(dict.fromkeys({names!r})); from services.cli.__main__ import main; main()"
EVALUATE, PROMOTE = ("models", "evaluate", "eurosat-rgb", "--data"), ("models", "promote", "landcover-l7", "--why")


def swath_without(names: tuple[str, ...], folder: Path, *words: object) -> Answer:
    """`swath WORDS` in a process of its own, which has none of these libraries."""
    command = [sys.executable, "-c", WITHOUT.format(names=names), *map(str, words)]
    variables = Installation(folder).variables(SWATH_WORKERS="2")
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    return Answer(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    names = [c.name for c in shipped_package("eurosat-rgb").contract.classes]
    files = {f"{name}/{name}_1.png": image_bytes((90, 90, 90), seed=at, px=64) for at, name in enumerate(names)}
    return write_folder(tmp_path / "data", files)


def test_images_are_judged_without_torch(data: Path, tmp_path: Path) -> None:
    answer = swath_without(("torch",), tmp_path, *EVALUATE, data, "--json")
    assert answer.code == 0, answer.err
    assert answer.json["model"]["name"] == "eurosat-rgb"
    assert swath_without(("torch",), tmp_path, *PROMOTE, "x").code == 0


@pytest.mark.parametrize(
    ("library", "words", "extra"),
    [
        ("torch", (*EVALUATE, "DATA", "--altered"), "train"),
        ("PIL", (*EVALUATE, "DATA"), "api"),
        ("PIL", (*PROMOTE, "x"), "api"),
    ],
)
def test_a_library_that_is_not_installed_is_named_with_its_extra(
    data: Path, tmp_path: Path, library: str, words: tuple[str, ...], extra: str
) -> None:
    answer = swath_without((library,), tmp_path, *(data if word == "DATA" else word for word in words))
    assert (answer.code, answer.out) == (78, "")
    assert answer.sentence.startswith(f"swath: {library} is not installed, ")
    assert answer.sentence.endswith(f"pip install 'swath[{extra}]'")
