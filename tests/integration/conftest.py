"""An installation per test, and `swath` called in this process where a process of its own would prove no more."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.cli.__main__ import main
from tests.processes import Answer, Installation
from tests.scenes import Look, write_scene


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """Nothing in it yet."""
    installation = Installation(tmp_path)
    yield installation
    installation.end()


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """300 by 400 pixels in three bands."""
    return write_scene(tmp_path / "scene.tif")


@pytest.fixture(scope="session")
def long_scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some seconds of work at 16 px: 80 units."""
    return write_scene(tmp_path_factory.mktemp("long") / "long.tif", Look(shape=(1280, 1600), block_px=16))


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, long_scene: Path) -> dict[str, str]:
    """What the long scene's product must be, whatever happens on the way."""
    place = Installation(tmp_path_factory.mktemp("undisturbed"))
    return place.answers(place.run(long_scene, "--tile-px", 16, "--workers", 1))


@pytest.fixture
def swath(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """`swath WORDS` in this process, on the test's own SWATH_HOME."""

    def call(*words: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["swath", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return Answer(int(end.value.code or 0), out, err)

    return call
