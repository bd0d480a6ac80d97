"""What breaks outside of us: files, disks. Each is told in one sentence, by the right exit code, with no false map."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio

from services.core.site import open_site
from tests.processes import ROOT, answers
from tests.scenes import cut_in_half, damage_block, damage_blocks, write_scene

PACKAGES = ROOT / "services" / "core" / "model" / "packages"
BRIGHTNESS = ("--model", "brightness", "--tile-px", 64, "--json")


def test_a_damaged_block_masks_exactly_the_tiles_that_touch_it(swath, tmp_path):
    whole, damaged = write_scene(tmp_path / "whole.tif"), write_scene(tmp_path / "damaged.tif")
    damage_block(damaged, 2, 3)
    clean = swath("run", whole, *BRIGHTNESS, "--out", tmp_path / "out")
    answer = swath("run", damaged, *BRIGHTNESS, "--out", tmp_path / "out")
    expected, made = (pq.read_table(Path(each.json["product"], "tiles.parquet")) for each in (clean, answer))
    assert answer.code == 65
    assert answer.json["tiles"] == {"planned": 35, "computed": 34, "reused": 0, "masked": 1}
    assert [row["state"] for row in made.to_pylist()].index("masked") == 2 * 7 + 3
    keep = [position for position in range(35) if position != 2 * 7 + 3]
    assert made.take(keep).select(["score", "class"]).equals(expected.take(keep).select(["score", "class"]))


def test_a_masked_tile_is_nodata_in_the_map_and_named_in_manifest_and_on_stderr(swath, scene, tmp_path):
    damage_block(scene, 1, 0)
    answer = swath("run", scene, *BRIGHTNESS, "--out", tmp_path / "out")
    product = Path(answer.json["product"])
    (named,) = json.loads((product / "manifest.json").read_bytes())["coverage"]["masked_tiles"]
    with rasterio.open(product / "map.tif") as dataset:
        blank = dataset.read(1) == 255
    assert blank[64:128, :64].all()
    assert blank.sum() == 64 * 64
    assert named[:2] == [1, 0]
    assert "1 of 35 tiles" in answer.sentence
    assert "manifest.json names them; the first: tile (1, 0)" in answer.sentence
    assert scene.name in answer.sentence


def test_a_tile_that_only_touches_a_damaged_block_is_masked_as_well(swath, scene, tmp_path):
    damage_block(scene, 0, 0)
    words = ("--model", "brightness", "--tile-px", 100, "--json", "--out", tmp_path / "out")
    answer = swath("run", scene, *words)
    assert answer.json["tiles"] == {"planned": 12, "computed": 11, "reused": 0, "masked": 1}


def test_a_scene_with_every_tile_damaged_publishes_nothing(swath, scene, tmp_path):
    damage_blocks(scene, [(row, col) for row in range(5) for col in range(7)])
    answer = swath("run", scene, *BRIGHTNESS, "--out", tmp_path / "out")
    assert answer.code == 65
    assert "no tile" in answer.sentence
    assert list((tmp_path / "out").iterdir()) == []


def test_a_file_cut_in_half_is_refused_and_the_catalog_keeps_the_reason(swath, scene, installation):
    cut_in_half(scene)
    answer = swath("run", scene, *BRIGHTNESS)
    assert answer.code == 65
    assert scene.name in answer.sentence
    with open_site(installation.settings()) as site:
        (refusal,) = site.catalog.refusals()
    assert answer.sentence == f"swath: {refusal.reason}"


def make_text(folder: Path) -> Path:
    path = folder / "notes.tif"
    path.write_text("not a raster at all\n" * 100)
    return path


def make_folder(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def make_vrt(folder: Path) -> Path:
    source = write_scene(folder / "source.tif")
    path = folder / "scene.vrt"
    path.write_text(
        '<VRTDataset rasterXSize="400" rasterYSize="300"><VRTRasterBand dataType="UInt16" band="1"><SimpleSource>'
        f"<SourceFilename>{source}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        "</VRTDataset>"
    )
    return path


def make_empty(folder: Path) -> Path:
    path = folder / "empty.tif"
    path.touch()
    return path


def make_nothing(folder: Path) -> Path:
    return folder / "absent.tif"


@pytest.mark.parametrize("make", [make_text, make_folder, make_vrt, make_empty, make_nothing])
def test_what_is_no_scene_is_refused_in_one_sentence(make, swath, tmp_path):
    path = make(tmp_path)
    answer = swath("run", path, *BRIGHTNESS, "--out", tmp_path / "out")
    assert answer.code == 65
    assert answer.out == ""
    assert str(path) in answer.sentence
    assert not (tmp_path / "out").exists()


def test_an_out_that_cannot_be_written_stops_the_run_before_it_computes(swath, scene, tmp_path):
    (tmp_path / "out").write_text("a file where the folder should be")
    answer = swath("run", scene, *BRIGHTNESS, "--out", tmp_path / "out")
    assert answer.code == 78
    assert str(tmp_path / "out") in answer.sentence
    assert not (tmp_path / "home" / "store" / "units").exists()


def mount(folder: Path, options: str) -> None:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine does not let tests mount a small disk: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """Full but for some hundred bytes."""
    folder = tmp_path / "disk"
    mount(folder, "size=64k")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def read_only_disk(tmp_path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    mount(folder, "ro,size=64k")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_read_only_disk_stops_the_run_before_it_computes(swath, scene, read_only_disk, tmp_path):
    answer = swath("run", scene, *BRIGHTNESS, "--out", read_only_disk)
    assert answer.code == 78
    assert str(read_only_disk) in answer.sentence
    assert not (tmp_path / "home" / "store" / "units").exists()


@pytest.mark.parametrize("name", ["SWATH_SCRATCH", "SWATH_HOME"])
@pytest.mark.parametrize("inner", ["", "inner"])
def test_a_read_only_disk_under_scratch_or_home_is_told_by_run_and_doctor(
    name, inner, swath, scene, read_only_disk, monkeypatch
):
    monkeypatch.setenv(name, str(read_only_disk / inner))
    run = swath("run", scene, *BRIGHTNESS, "--out", scene.parent / "out")
    doctor = swath("doctor", "--json")
    assert (run.code, doctor.code) == (78, 78)
    assert str(read_only_disk) in run.sentence
    assert [each["ok"] for each in doctor.json["findings"] if each["name"] == "scratch"] == [False]


def test_the_tiler_tells_of_a_scratch_that_cannot_be_written(installation, scene, read_only_disk):
    scene_id = installation.swath("ingest", scene, "--json").json["scenes"][0]["id"]
    answer = installation.module("services.tiler", scene_id, SWATH_SCRATCH=str(read_only_disk))
    assert answer.code == 78
    assert str(read_only_disk) in json.loads(answer.sentence)["error"]


@pytest.mark.parametrize("inodes", [2, 3, 4, 6])
def test_a_scratch_that_takes_no_more_files_is_something_to_try_again(installation, scene, tmp_path, inodes):
    scene_id = installation.swath("ingest", scene, "--json").json["scenes"][0]["id"]
    disk = tmp_path / "disk"
    mount(disk, f"size=8m,nr_inodes={inodes}")
    there = {"SWATH_SCRATCH": str(disk / "inner")}
    tiled = installation.module("services.tiler", scene_id, **there)
    run = installation.run(scene, **there)
    subprocess.run(["umount", str(disk)], check=True)
    assert (tiled.code, run.code) in [(75, 75), (0, 75), (0, 0)]
    assert "Traceback" not in tiled.err + run.err
    assert run.code == 0 or "space left" in run.sentence or "could not be written" in run.sentence


@pytest.mark.parametrize("words", [("services.tiler",), ("services.inference", "shard"), ("services.inference",)])
def test_a_container_without_its_arguments_leaves_as_the_command_does(words, installation):
    answer = installation.module(*words)
    assert answer.code == 65
    assert answer.sentence.startswith("swath: the following arguments are required: ")


def fill(disk: Path, leave: int) -> Path:
    """A file that takes all space but some."""
    free = os.statvfs(disk)
    path = disk / "ballast"
    path.write_bytes(bytes(free.f_bavail * free.f_bsize - leave))
    return path


def test_a_full_disk_at_publishing_leaves_nothing_and_resume_goes_on(swath, scene, small_disk, tmp_path):
    ballast = fill(small_disk, 12_288)
    answer = swath("run", scene, *BRIGHTNESS, "--out", small_disk)
    left = sorted(path.name for path in small_disk.iterdir())
    ballast.unlink()
    run_id = swath("runs", "--json").json["runs"][0]["id"]
    resumed = swath("resume", run_id, "--json")
    assert answer.code == 75
    assert "no space left" in answer.sentence
    assert left == ["ballast"]
    assert (resumed.code, resumed.json["state"]) == (0, "published")


PAGE = 4096  # what a file takes at least of a tmpfs
MODEL_PAGES = sum(-(-path.stat().st_size // PAGE) for path in (PACKAGES / "brightness").iterdir())


@pytest.fixture
def undamaged(swath, scene, tmp_path, monkeypatch) -> tuple[Path, dict[str, str]]:
    """A scene, and what its product must be; made in another home."""
    monkeypatch.setenv("SWATH_HOME", str(tmp_path / "elsewhere"))
    made = answers(Path(swath("run", scene, *BRIGHTNESS, "--out", tmp_path / "other").json["product"]))
    monkeypatch.setenv("SWATH_HOME", str(tmp_path / "home"))
    return scene, made


@pytest.mark.parametrize(("name", "leave"), [("SWATH_SCRATCH", 2 * PAGE), ("SWATH_STORE", (MODEL_PAGES + 2) * PAGE)])
def test_a_full_disk_under_scratch_or_store_stops_the_run_and_resume_goes_on(
    name, leave, swath, undamaged, small_disk, monkeypatch
):
    scene, expected = undamaged
    monkeypatch.setenv(name, str(small_disk / "inner"))
    ballast, out = fill(small_disk, leave), scene.parent / "out"
    answer = swath("run", scene, *BRIGHTNESS, "--out", out)
    left = list(out.iterdir())
    ballast.unlink()
    monkeypatch.delenv("SWATH_SCRATCH", raising=False)  # the store must stay where it was
    resumed = swath("resume", swath("runs", "--json").json["runs"][0]["id"], "--json")
    assert (answer.code, left, resumed.code) == (75, [], 0)
    assert "space left" in answer.sentence
    assert answers(Path(resumed.json["product"])) == expected


def test_a_scene_that_changes_between_run_and_resume_is_not_mixed_in(swath, scene, tmp_path, small_disk):
    ballast = fill(small_disk, 12_288)
    swath("run", scene, *BRIGHTNESS, "--out", small_disk)
    ballast.unlink()
    next((tmp_path / "home" / "store" / "units").rglob("*.npz")).unlink()  # else nothing is left to be read
    with scene.open("r+b") as file:  # same size, other bytes
        file.seek(-100, os.SEEK_END)
        file.write(b"other")
    answer = swath("resume", swath("runs", "--json").json["runs"][0]["id"])
    assert answer.code == 65
    assert f"{scene} has changed since it was ingested" in answer.err.splitlines()[-1]


def test_the_worst_of_several_scenes_decides_the_exit_code(swath, tmp_path):
    bad = write_scene(tmp_path / "bad.tif")
    cut_in_half(bad)
    answer = swath("run", "http://127.0.0.1:9/away.tif", bad, *BRIGHTNESS, "--out", tmp_path / "out")
    assert answer.code == 65  # the first is a matter of time, 75; the second of the file
    assert ["try again later" in line for line in answer.err.splitlines()] == [True, False]


def test_one_bad_scene_among_several_does_not_stop_the_others(swath, tmp_path):
    good, bad, damaged = (write_scene(tmp_path / f"{name}.tif") for name in ("good", "bad", "damaged"))
    cut_in_half(bad)
    damage_blocks(damaged, np.ndindex(5, 7))
    answer = swath("run", bad, damaged, good, *BRIGHTNESS, "--out", tmp_path / "out")
    assert answer.code == 65
    assert answer.json["state"] == "published"
    assert [str(bad) in line or "no tile of damaged" in line for line in answer.err.splitlines()] == [True, True]
