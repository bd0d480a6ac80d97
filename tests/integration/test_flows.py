"""`python -m flows.pipeline` with no Prefect server: the same maps, retries by error class, no scene stops another.

One pipeline answers for all tests here, because Prefect takes half a minute to start: three scenes, one of them not
readable and one damaged, on a store that is down when the pipeline begins.
"""

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flows.tasks import plan_run
from services.core.grid import Window
from services.core.ingest import ingest_scene
from services.core.raster.open import OpenOptions
from services.core.raster.place import window_of_bbox
from services.core.site import open_site
from tests.processes import Answer, Installation, answers, finish, wait_until
from tests.s3_server import available_kinds, run_s3_server
from tests.scenes import Look, cut_in_half, damage_block, write_landsat, write_scene

#: A setting's value: whoever hands settings to Prefect as parameters hands over the database's password as well.
CANARY = "canary-scratch"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Iterator[Installation]:
    if not available_kinds():
        why = "no S3 server here: install versitygw or moto[server]"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    folder = tmp_path_factory.mktemp("flows")
    quiet = {"PREFECT_HOME": str(folder / "prefect"), "DO_NOT_TRACK": "1", "SWATH_S3_ATTEMPTS": "1"}
    quiet["SWATH_SCRATCH"] = str(folder / CANARY)
    place = Installation(folder, quiet)
    yield place
    place.end()


@pytest.fixture(scope="module")
def scenes(place) -> list[Path]:
    good, damaged, cut = (place.folder / f"{name}.tif" for name in ("good", "damaged", "cut"))
    write_scene(good)
    damage_block(write_landsat(damaged, (600, 700)), 0, 0)
    cut_in_half(write_scene(cut))
    return [good, cut, damaged]


@pytest.fixture(scope="module")
def pipeline(place, scenes) -> Answer:
    with run_s3_server() as server:
        server.kill()
        words = (*scenes, "--model", "brightness", "--out", place.out, "--tile-px", "128")
        process = place.start("flows.pipeline", *words, **server.environment, SWATH_STORE=f"{server.uri}/store")
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "Retry 1/3" in line:
                break
        server.start()
        answer = finish(process)
    return Answer(answer.code, answer.out, "".join(lines) + answer.err)


@pytest.fixture(scope="module")
def rows(pipeline) -> list[dict]:
    """Stdout is JSON lines and nothing else."""
    return [json.loads(line) for line in pipeline.out.splitlines()]


@pytest.mark.slow
@pytest.mark.s3
def test_each_scene_has_a_row_in_order_and_a_bad_one_stops_no_other(rows, scenes, pipeline):
    assert [row["source"] for row in rows] == [str(path) for path in scenes]
    assert [row["state"] for row in rows] == ["published", "failed", "published"]
    assert pipeline.code == 65


@pytest.mark.slow
@pytest.mark.s3
def test_a_refused_scene_tells_why_and_the_catalog_keeps_it(rows, place, scenes):
    with open_site(place.settings()) as site:
        (refusal,) = site.catalog.refusals()
    assert rows[1]["exit_code"] == 65
    assert str(scenes[1]) in rows[1]["error"]
    assert refusal.reason == rows[1]["error"]


@pytest.mark.slow
@pytest.mark.s3
def test_a_store_that_was_down_is_tried_again_and_a_refusal_is_not(pipeline, scenes):
    retried = [line for line in pipeline.err.splitlines() if "Retry" in line]
    assert retried
    assert all("StorageUnavailableError" in line for line in retried)
    assert pipeline.err.count("Retry 1/3") >= 1


@pytest.mark.slow
@pytest.mark.s3
def test_a_damaged_scene_is_published_with_its_tiles_masked_and_told_by_the_exit_code(rows):
    assert rows[2]["tiles"]["tiles_masked"] == 1
    assert rows[2]["exit_code"] == 65


@pytest.mark.slow
@pytest.mark.s3
def test_a_manifest_tells_the_command_that_repeats_this_scene_and_no_other(place, rows, scenes):
    with open_site(place.settings()) as site:
        commands = [site.catalog.run(rows[at]["run_id"]).command for at in (0, 2)]
    for command, scene in zip(commands, (scenes[0], scenes[2]), strict=True):
        words = shlex.split(command)
        assert words[:3] == ["swath", "run", str(scene)]
        assert not {str(other) for other in scenes if other != scene} & set(words)


@pytest.mark.slow
@pytest.mark.s3
def test_the_pipeline_publishes_the_bytes_that_swath_run_publishes(rows, scenes, tmp_path):
    direct = Installation(tmp_path)
    for scene, row in ((scenes[0], rows[0]), (scenes[2], rows[2])):
        assert answers(Path(row["product"])) == direct.answers(direct.run(scene, "--tile-px", "128"))


@pytest.mark.slow
@pytest.mark.s3
def test_prefect_is_not_given_the_settings_to_keep(pipeline, place):
    kept = [path for path in (place.folder / "prefect").rglob("*") if path.is_file()]
    assert kept
    assert not [path for path in kept if CANARY.encode() in path.read_bytes()]


def test_a_wrong_setting_is_told_before_prefect_starts(place):
    home = str(place.folder / "no-prefect")
    wrong = {"SWATH_MEMORY": "banana", "PREFECT_HOME": home}
    answer = place.module("flows.pipeline", "scene.tif", "--model", "brightness", **wrong)
    assert answer.code == 78
    assert "SWATH_MEMORY" in answer.sentence
    assert not list(
        (place.folder / "no-prefect").glob("*.db")
    )  # importing Prefect makes the folder, starting it a database


@pytest.mark.parametrize("box", ["1,2,3", "-1,2,3"])
def test_a_box_that_makes_no_sense_is_told_before_prefect_starts(place, box):
    answer = place.module("flows.pipeline", "scene.tif", "--model", "brightness", "--bbox", box)
    assert (answer.code, f"--bbox {box} is not west,south,east,north" in answer.sentence) == (65, True)


@pytest.mark.slow
def test_a_prefect_that_does_not_answer_is_something_to_try_again(place):
    away = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_CLIENT_MAX_RETRIES": "0"}
    answer = place.module("flows.pipeline", "scene.tif", "--model", "brightness", **away)
    assert answer.code == 75
    assert "PREFECT_API_URL" in answer.sentence
    assert "Traceback" not in answer.err


def test_a_pipeline_without_arguments_leaves_as_the_command_does(place):
    answer = place.module("flows.pipeline")
    assert answer.code == 65
    assert answer.sentence.startswith("swath: the following arguments are required: ")


def test_a_run_of_the_pipeline_may_be_over_a_part_of_the_scene(tmp_path, monkeypatch):
    home = Installation(tmp_path)
    monkeypatch.setenv("SWATH_HOME", str(tmp_path / "home"))
    with open_site(home.settings()) as site:
        scene = ingest_scene(site, [str(write_scene(tmp_path / "scene.tif"))], OpenOptions())
        west, south, east, north = scene.bbox
        box = (west, south, (west + east) / 2, (south + north) / 2)
        run = site.catalog.run(plan_run.fn(scene.id, "brightness", str(home.out), {"bbox": box, "tile_px": 64}))
        window = window_of_bbox(scene, box)
    assert Window(**run.plan["window"]) == window


@pytest.mark.slow
def test_a_pipeline_that_is_asked_to_stop_keeps_what_it_has_and_leaves_nothing_running(tmp_path):
    home = Installation(tmp_path)
    scene = write_scene(tmp_path / "scene.tif", Look(shape=(3000, 400)))
    process = home.start("flows.pipeline", scene, "--model", "brightness", "--tile-px", "8", SWATH_WORKERS="1")
    wait_until(lambda: (run := home.last_run()) is not None and home.progress(run.id).units_done > 0, process)
    servers = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    answer = finish(process)
    assert answer.code == 75
    assert json.loads(answer.out)["exit_code"] == 75
    assert "Traceback" not in answer.err
    assert not [server for server in servers if server.is_running() and server.status() != psutil.STATUS_ZOMBIE]
    assert home.swath("resume", home.last_run().id).code == 0
