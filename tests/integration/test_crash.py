"""A run that is killed, stopped, or worked on by several processes ends as the undisturbed one does."""

import json
import os
import shlex
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from services.core.model.package import shipped_package
from services.core.site import open_site
from services.inference.plan import Choice, plan_for_shards
from tests.processes import Answer, Installation, finish, kill, wait_until
from tests.scenes import Look, write_scene

UNITS, COLS = 80, 100  # tiles of 16 px in the long scene: a row of them is a unit
WORKERS = 2
NEVER = {"SWATH_LEASE_S": "600"}  # nobody can wait for such a lease to lapse


def query(place: Installation, statement: str) -> list[tuple]:
    """Straight from the ledger's tables, beside all our code."""
    connection = sqlite3.connect(place.folder / "home" / "swath.db")
    try:
        with connection:
            return connection.execute(statement).fetchall()
    finally:
        connection.close()


def objects(place: Installation) -> dict[Path, int]:
    """Every unit's object, and when it was written."""
    return {path: path.stat().st_mtime_ns for path in (place.folder / "home" / "store" / "units").rglob("*.npz")}


class Killed:
    """A run killed when some units were done, and what `swath resume` made of it."""

    def __init__(self, place: Installation, scene: Path) -> None:
        process = place.start_run(scene, SWATH_WORKERS=str(WORKERS), **NEVER)
        self.place = place
        with place.held_at(process, 10) as self.run_id:
            kill(process)
        self.done = place.progress(self.run_id).units_done
        self.before = objects(place)
        self.answer = place.swath("resume", self.run_id, "--json", SWATH_WORKERS=str(WORKERS), **NEVER)
        self.after = objects(place)


@pytest.fixture(scope="module")
def killed(tmp_path_factory, long_scene) -> Killed:
    return Killed(Installation(tmp_path_factory.mktemp("killed")), long_scene)


def test_a_killed_run_goes_on_where_it_was_without_waiting_for_a_lease(killed):
    assert 10 <= killed.done < UNITS
    assert (killed.answer.code, killed.answer.err) == (0, "")
    assert killed.answer.json["run_id"] == killed.run_id


def test_a_killed_run_ends_with_the_bytes_of_an_undisturbed_one(killed, undisturbed):
    assert killed.place.answers(killed.answer) == undisturbed
    assert killed.place.products() == [killed.run_id]


def test_a_kill_costs_at_most_one_unit_per_worker(killed):
    again = [path for path, written in killed.before.items() if killed.after[path] != written]
    assert len(killed.after) == UNITS
    assert len(again) <= WORKERS
    assert len(killed.before) - killed.done <= WORKERS  # objects whose rows were not yet committed


def test_a_run_killed_again_and_again_still_ends_the_same(installation, long_scene, undisturbed):
    run_id = planned(installation, long_scene)
    for count in (10, 30, 50):
        process = installation.start("services.cli", "resume", run_id, **NEVER)
        with installation.held_at(process, count):
            kill(process)
    answer = installation.swath("resume", run_id, "--json", **NEVER)
    assert installation.answers(answer) == undisturbed


def test_a_run_killed_while_it_assembles_leaves_nothing_half_published(installation, long_scene, undisturbed):
    process = installation.start_run(long_scene, **NEVER)
    with installation.held_at(process, UNITS) as run_id:
        pass
    wait_until(lambda: query(installation, "SELECT assembler FROM runs") != [(None,)], process)
    kill(process)
    shown = [name for name in installation.products() if not name.startswith(".")]
    answer = installation.swath("resume", run_id, "--json", **NEVER)
    assert shown in ([], [run_id])  # before the rename or after it
    assert answer.json["tiles"]["computed"] == UNITS * COLS
    assert installation.answers(answer) == undisturbed
    assert installation.products() == [run_id]


def test_a_product_whose_row_was_lost_in_a_crash_is_kept_as_it_is(installation, scene):
    first = installation.run(scene)
    manifest = Path(first.json["product"], "manifest.json")
    before = manifest.stat().st_mtime_ns
    query(installation, "DELETE FROM products")
    query(installation, "UPDATE runs SET state = 'running', assembler = 'far:1:1.00', assembly_until_s = 0")
    answer = installation.swath("resume", first.json["run_id"], "--json")
    assert (answer.code, answer.json["state"]) == (0, "published")
    assert manifest.stat().st_mtime_ns == before


def test_a_run_that_crashed_between_product_and_state_is_published_by_resume(installation, scene):
    first = installation.run(scene)
    query(installation, "UPDATE runs SET state = 'running', finished_at = NULL")
    answer = installation.swath("resume", first.json["run_id"], "--json")
    assert (answer.code, answer.json["state"]) == (0, "published")


def test_resuming_a_published_run_reports_it_and_computes_nothing(installation, scene):
    first = installation.run(scene)
    scene.unlink()
    again = installation.swath("resume", first.json["run_id"], "--json")
    assert again.code == 0
    assert {**again.json, "seconds": 0} == {**first.json, "seconds": 0}


@pytest.mark.parametrize("damage", ["gone", "changed", "manifest"])
def test_resuming_a_published_run_makes_its_product_good_without_the_scene(installation, scene, damage):
    first = installation.run(scene)
    before, product = installation.answers(first), Path(first.json["product"])
    scene.unlink()
    if damage == "changed":
        (product / "map.tif").write_bytes(b"something else")
    elif damage == "manifest":
        (product / "manifest.json").write_bytes(b"{")
    else:
        shutil.rmtree(product)
    again = installation.swath("resume", first.json["run_id"], "--json")
    assert (again.code, again.json["state"]) == (0, "published")
    assert again.json["tiles"] == first.json["tiles"]
    assert installation.answers(again) == before
    assert installation.swath("resume", first.json["run_id"], "--json").json["product"] == str(product)


def test_a_product_that_got_lost_before_its_run_was_called_published_is_made_again(installation, scene):
    first = installation.run(scene)
    before = installation.answers(first)
    with closing(sqlite3.connect(installation.folder / "home" / "swath.db")) as ledger, ledger:
        ledger.execute("UPDATE runs SET state = 'running', finished_at = NULL")
    shutil.rmtree(first.json["product"])
    again = installation.swath("resume", first.json["run_id"], "--json")
    assert (again.code, again.json["state"]) == (0, "published")
    assert installation.answers(again) == before


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_resuming_a_published_run_computes_a_lost_unit_again(installation, scene, damage):
    first = installation.run(scene)
    place = ("--lon", "3.001", "--lat", "45.15")
    told = installation.swath("lineage", first.json["run_id"], *place, "--json").json
    unit = installation.folder / "home" / "store" / told["unit"]["object"]
    if damage == "cut":
        unit.write_bytes(unit.read_bytes()[:-7])
    else:
        unit.unlink()
    lost = installation.swath("lineage", first.json["run_id"], *place)
    assert lost.code == 65
    assert lost.sentence.endswith(f"compute it again with: swath resume {first.json['run_id']}")
    again = installation.swath("resume", first.json["run_id"], "--json")
    assert (again.code, again.json["state"]) == (0, "published")
    assert installation.swath("lineage", first.json["run_id"], *place, "--json").json == told


def test_a_whole_product_stays_published_where_its_lost_units_cannot_be_computed_again(installation, scene):
    first = installation.run(scene)
    shutil.rmtree(installation.folder / "home" / "store" / "units")
    scene.unlink()
    again = installation.swath("resume", first.json["run_id"])
    assert (again.code, "is gone since it was ingested" in again.sentence) == (65, True)
    assert query(installation, "SELECT state FROM runs") == [("published",)]
    assert query(installation, "SELECT count(*) FROM products") == [(1,)]


def test_two_processes_on_one_run_share_it_and_both_end_well(installation, long_scene, undisturbed):
    run_id = planned(installation, long_scene)
    pair = [installation.start("services.cli", "resume", run_id, "--json", SWATH_LOG_LEVEL="debug") for _ in range(2)]
    both = [finish(each) for each in pair]
    assert [each.code for each in both] == [0, 0]
    assert sum(each.err.count('"unit finished"') for each in both) == UNITS
    assert [installation.answers(each) for each in both] == [undisturbed] * 2
    assert installation.products() == [run_id]


def test_a_second_process_waits_for_a_silent_one_and_inherits_its_work_when_it_dies(
    installation, long_scene, undisturbed
):
    process = installation.start_run(long_scene, **NEVER)
    with installation.held_at(process, 5) as run_id:
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    left = UNITS - query(installation, "SELECT count(*) FROM units WHERE state = 'claimed'")[0][0]
    other = installation.start("services.cli", "resume", run_id, "--json", **NEVER)
    installation.wait_for_units(other, left)
    waiting = other.poll() is None
    kill(process)
    answer = finish(other)
    assert waiting
    assert (answer.code, answer.err) == (0, "")
    assert installation.answers(answer) == undisturbed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_asked_to_stop_gives_its_claims_back_and_exits_75(installation, long_scene, number):
    process = installation.start_run(long_scene)
    with installation.held_at(process, 5) as run_id:
        process.send_signal(number)
    stopped = finish(process)
    assert stopped.code == 75
    assert stopped.sentence == f"swath: run {run_id} was asked to stop; go on with: swath resume {run_id}"
    assert installation.progress(run_id).units_done < UNITS
    assert query(installation, "SELECT count(*) FROM units WHERE state = 'claimed'") == [(0,)]
    assert installation.swath("resume", run_id).code == 0


def planned(place: Installation, scene: object) -> str:
    """The id of a run that somebody planned and nobody works on: what a cluster's shards start from."""
    choice = ("--model", "brightness", "--tile-px", 16, "--out", place.out)
    answer = place.module("services.inference", "plan", scene, *choice)
    assert answer.code == 0, answer.err
    assert answer.json["units"] == UNITS
    assert place.progress(answer.json["run_id"]).units_done == 0
    return str(answer.json["run_id"])


def shards(place: Installation, run_id: str, *indices: int, count: int) -> list[Answer]:
    """Several at once, each in a process of its own."""
    words = [("shard", "--run", run_id, "--index", index, "--count", count) for index in indices]
    return [finish(each) for each in [place.start("services.inference", *each) for each in words]]


@pytest.mark.parametrize("count", [1, 3])
def test_shards_in_processes_of_their_own_make_the_same_product(installation, long_scene, undisturbed, count):
    run_id = planned(installation, long_scene)
    done = shards(installation, run_id, *range(count), count=count)
    assembled = installation.module("services.inference", "assemble", "--run", run_id)
    answer = installation.swath("resume", run_id, "--json")
    assert [each.code for each in [*done, assembled, answer]] == [0] * (count + 2)
    assert installation.answers(answer) == undisturbed


def test_a_scene_that_the_catalog_knows_is_planned_by_its_id_and_told_with_its_files(installation, tmp_path):
    files = {name: write_scene(tmp_path / f"{name}.tif", Look(names=(name,))) for name in ("red", "green", "blue")}
    words = [word for name, path in files.items() for word in ("--band", f"{name}={path}")]
    scene_id = installation.swath("ingest", *words, "--json").json["scenes"][0]["id"]
    answer = installation.module("services.inference", "plan", scene_id, "--model", "brightness", "--tile-px", 64)
    run = installation.last_run()
    assert (answer.json["run_id"], run.scene_id) == (run.id, scene_id)
    pin = shipped_package("brightness").pin
    assert run.command == f"swath run {shlex.join(words)} --model {pin} --tile-px 64"


def test_a_folder_that_is_called_like_an_id_is_planned_as_a_folder(settings, tmp_path, monkeypatch):
    write_scene(tmp_path / "aster-2024050112" / "B03.tif", Look(names=("",)))
    monkeypatch.chdir(tmp_path)
    with open_site(settings) as site:
        by_name = plan_for_shards(site, "aster-2024050112", Choice(model="brightness"))
        by_id = plan_for_shards(site, by_name.run.scene_id, Choice(model="brightness"))
    assert by_id.run.scene_id == by_name.run.scene_id


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("scene-0123456789", "--model", "brightness"), "no scene 'scene-0123456789'"),
        (("absent.tif", "--model", "brightness"), "absent.tif"),
        (("SCENE", "--model", "nosuch"), "nosuch"),
        (("SCENE", "--model", "brightness", "--bbox", "1,2"), "--bbox 1,2"),
        (("SCENE", "--model", "brightness", "--bbox", "-78.8,35.7,-78.6,35.9"), "is outside"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_one_sentence_and_leaves_no_run(installation, scene, words, said):
    words = [scene if word == "SCENE" else word for word in words]
    answer = installation.module("services.inference", "plan", *words)
    assert (answer.code, answer.out) == (65, "")
    assert said in json.loads(answer.sentence)["error"]
    assert installation.last_run() is None


def test_a_shard_started_twice_computes_each_of_its_units_once(installation, long_scene):
    run_id = planned(installation, long_scene)
    pair = shards(installation, run_id, 0, 0, count=2)
    assert [each.code for each in pair] == [0, 0]
    assert query(installation, "SELECT count(*) FROM units WHERE state = 'done'") == [(UNITS // 2,)]
    assert len(objects(installation)) == UNITS // 2


def test_a_run_with_units_missing_is_not_assembled(installation, long_scene):
    run_id = planned(installation, long_scene)
    shards(installation, run_id, 0, count=2)
    answer = installation.module("services.inference", "assemble", "--run", run_id)
    assert answer.code == 75
    assert f"40 units of run {run_id} are not done yet; wait for its workers" in answer.sentence
    assert installation.products() == []
    assert query(installation, "SELECT state FROM runs") == [("running",)]


def test_a_done_unit_without_a_result_is_computed_again(installation, scene):
    run_id = installation.run(scene).json["run_id"]
    for statement in (
        "DELETE FROM products",
        "UPDATE runs SET state = 'failed'",
        "UPDATE units SET result_key = NULL",  # as schema 0004 left them where a later run had better ones
        "DELETE FROM unit_results",
    ):
        query(installation, statement)
    assembled = installation.module("services.inference", "assemble", "--run", run_id)
    answer = installation.swath("resume", run_id, "--json")
    assert (assembled.code, answer.code) == (75, 0)
    assert answer.json["tiles"]["computed"] == answer.json["tiles"]["planned"]


def test_a_shard_that_does_not_exist_is_refused(installation, long_scene):
    (answer,) = shards(installation, planned(installation, long_scene), 3, count=3)
    assert answer.code == 65
    assert "no shard 3 of 3" in answer.sentence


def test_the_pods_index_says_which_shard_it_is_and_must_be_a_number(installation, long_scene):
    run_id = planned(installation, long_scene)
    words = ("services.inference", "shard", "--run", run_id, "--count", 2)
    strange = installation.module(*words, JOB_COMPLETION_INDEX="first")
    second = installation.module(*words, JOB_COMPLETION_INDEX="1")

    assert strange.code == 78
    assert "JOB_COMPLETION_INDEX is 'first', not the number of a pod" in strange.sentence
    assert second.code == 0
    assert query(installation, "SELECT min(units.\"index\") FROM units WHERE state = 'done'") == [(UNITS // 2,)]
