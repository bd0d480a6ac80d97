"""The command that repeats a run: from any folder, with every choice, and nothing that opens a door."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.core.command import repeating_command, run_command
from services.core.errors import RequestError
from services.core.ingest import ingest_scene, naming_of
from services.core.model.package import shipped_package
from services.core.raster.open import OpenOptions, open_scene
from services.core.records import Naming
from services.core.settings import Settings
from services.core.site import Site, open_site
from services.inference.plan import Choice, plan_for_shards
from tests.products import make_run
from tests.rasters import write_raster
from tests.scenes import Look, write_scene

PIN = shipped_package("brightness").pin


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_site(Settings(home=tmp_path / "home")) as opened:
        yield opened


def test_paths_are_absolute_and_signatures_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_scene(tmp_path / "a b.tif", Look(names=("red",)))
    assert run_command(open_scene(["a b.tif"]).naming or Naming(), model="m@12345678", out="maps") == (
        f"swath run '{tmp_path}/a b.tif' --model m@12345678 --out {tmp_path}/maps"
    )
    url = "https://user:hush@host/x.tif?X-Amz-Signature=hush"
    scene = open_scene([], options=OpenOptions(bands={"red": url}), fetch=lambda _: tmp_path / "a b.tif")
    assert scene.naming == Naming(bands=(("red", "https://host/x.tif"),))


def test_only_what_was_chosen_is_told() -> None:
    options = {"--tile-px": 64, "--gsd": None, "--bbox": (1.5, 2.0, 3.0, 4.0)}
    assert run_command(Naming(paths=("/x.tif",)), model="m", options=options) == (
        "swath run /x.tif --model m --tile-px 64 --bbox 1.5,2.0,3.0,4.0"
    )


def test_the_command_names_the_library_and_number_format_that_a_run_worked_with() -> None:
    run = make_run(32, command="swath run /x.tif --model m", backend="openvino:bf16")
    assert repeating_command(run) == "SWATH_BACKEND=openvino SWATH_PRECISION=bf16 swath run /x.tif --model m"
    assert repeating_command(make_run(32)) == make_run(32).command


def odd_scene(folder: Path, option: str) -> tuple[list[str], OpenOptions, str]:
    """A scene of one file that needs an option or has one, and how the command must name it."""
    path = str(folder / "scene.tif")
    if option == "--crs":
        write_raster(folder / "scene.tif", np.ones((1, 20, 30), np.uint8), crs=None, transform=None)
        place: dict[str, Any] = {"crs": "EPSG:32631", "bounds": (500000.0, 4999800.0, 500300.0, 5000000.0)}
        return [path], OpenOptions(**place), "--crs EPSG:32631 --bounds 500000.0,4999800.0,500300.0,5000000.0"
    if option == "--bands":
        write_scene(folder / "scene.tif")
        return [path], OpenOptions(names=("blue", "green", "red")), "--bands blue,green,red"
    write_scene(folder / "scene.tif", Look(names=("red",)))
    return [], OpenOptions(bands={"nir": path}), f"--band nir={path}"


@pytest.mark.parametrize("option", ["--crs", "--bands", "--band"])
def test_a_registered_scene_is_told_with_the_options_that_it_was_ingested_with(
    site: Site, tmp_path: Path, option: str
) -> None:
    sources, options, told = odd_scene(tmp_path, option)
    scene = ingest_scene(site, sources, options)
    run = plan_for_shards(site, scene.id, Choice(model="brightness")).run
    named = "".join(f" {path}" for path in sources)
    assert run.command in (f"swath run{named} --model {PIN} {told}", f"swath run {told} --model {PIN}")


@pytest.mark.parametrize("option", ["--crs", "--bands", "--band"])
def test_a_scene_of_which_nobody_kept_the_options_is_refused_rather_than_told_without(
    site: Site, tmp_path: Path, option: str
) -> None:
    sources, options, _ = odd_scene(tmp_path, option)
    scene = ingest_scene(site, sources, options)
    site.catalog.add_scene(scene.model_copy(update={"naming": None}))
    with pytest.raises(RequestError, match=f"scene {scene.id} was registered by an older Swath.* swath ingest SCENE"):
        plan_for_shards(site, scene.id, Choice(model="brightness"))


def test_a_scene_of_before_that_had_no_options_is_opened_once_more_and_told(site: Site, tmp_path: Path) -> None:
    paths = [str(write_scene(tmp_path / f"{name}.tif", Look(names=(name,)))) for name in ("red", "nir")]
    scene = ingest_scene(site, paths, OpenOptions())
    site.catalog.add_scene(scene.model_copy(update={"naming": None}))
    assert naming_of(site, site.catalog.scene(scene.id)) == Naming(paths=tuple(paths))
    for path in paths:
        Path(path).unlink()
    assert naming_of(site, site.catalog.scene(scene.id)) == Naming(paths=tuple(paths))
