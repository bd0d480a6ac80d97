"""The command that repeats a run: from any folder, with every choice, and nothing that opens a door."""

from pathlib import Path

import pytest

from services.core.command import repeating_command, run_command
from tests.products import make_run


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


def test_the_command_names_the_library_and_number_format_that_a_run_worked_with() -> None:
    run = make_run(32, command="swath run /x.tif --model m", backend="openvino:bf16")
    assert repeating_command(run) == "SWATH_BACKEND=openvino SWATH_PRECISION=bf16 swath run /x.tif --model m"
    assert repeating_command(make_run(32)) == make_run(32).command
