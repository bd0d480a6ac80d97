"""The small picture of a map: classes look different on every terminal."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.text import Text

from services.cli.picture import show_map
from services.core.model.package import shipped_package
from tests.scenes import Look, write_scene


@pytest.mark.parametrize(("colors", "signs"), [("truecolor", 1), ("standard", 7)])
def test_classes_that_16_colours_cannot_tell_apart_are_drawn_with_signs(tmp_path: Path, colors, signs) -> None:
    contract = shipped_package("landcover-l7").contract
    classes = np.repeat(np.arange(7, dtype=np.uint8)[None, None], 8, axis=1)
    path = write_scene(tmp_path / "map.tif", Look(names=("class",), dtype="uint8", shape=(8, 7)), pixels=classes)
    console = Console(file=io.StringIO(), force_terminal=True, color_system=colors, width=80)
    show_map(console, path, contract)
    first = Text.from_ansi(console.file.getvalue().splitlines()[0]).plain
    assert len(set(first)) == signs
