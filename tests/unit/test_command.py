"""The command that repeats a run: from any folder, with every choice, and nothing that opens a door."""

from pathlib import Path

import pytest

from services.core.command import run_command


def test_paths_are_absolute_and_signatures_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "package").mkdir()
    assert run_command(["a b.tif"], model="package", out="maps") == (
        f"swath run '{tmp_path}/a b.tif' --model {tmp_path}/package --out {tmp_path}/maps"
    )
    url = "https://user:hush@host/x.tif?X-Amz-Signature=hush"
    assert run_command([url], model="m", bands={"red": url}) == (
        "swath run https://host/x.tif --band red=https://host/x.tif --model m"
    )


def test_only_what_was_chosen_is_told() -> None:
    options = {"--bands": (), "--tile-px": 64, "--gsd": None, "--bbox": (1.5, 2.0, 3.0, 4.0)}
    assert run_command(["/x.tif"], model="m", options=options) == (
        "swath run /x.tif --model m --tile-px 64 --bbox 1.5,2.0,3.0,4.0"
    )
