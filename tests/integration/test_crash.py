"""A run that is killed, stopped, or worked on by several processes ends as the undisturbed one does."""

import signal
import sqlite3
import time
from pathlib import Path

import pytest

from tests.processes import Answer, Installation, finish, kill, wait_until

UNITS, COLS = 80, 100  # tiles of 16 px in the long scene: a row of them is a unit
WORKERS = 2


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, long_scene) -> dict[str, str]:
    """What the long scene's product must look like, whatever happens on the way."""
    place = Installation(tmp_path_factory.mktemp("undisturbed"))
    return place.answers(place.run(long_scene, "--tile-px", 16, "--workers", 1))


def query(place: Installation, statement: str) -> list[tuple]:
    """Straight from the ledger's tables, beside all our code."""
    connection = sqlite3.connect(place.folder / "home" / "swath.db")
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def object_times(place: Installation) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (place.folder / "home" / "store" / "units").rglob("*.npz")}


def test_a_killed_run_goes_on_where_it_was_without_waiting_for_a_lease(installation, long_scene, undisturbed):
    process = installation.start_run(long_scene, SWATH_LEASE_S="600", SWATH_WORKERS=str(WORKERS))
    run_id = installation.wait_for_units(process, 10)
    kill(process)
    done = installation.progress(run_id).units_done
    answer = installation.swath("resume", run_id, "--json", SWATH_LEASE_S="600")
    assert 10 <= done < UNITS
    assert (answer.code, answer.err) == (0, "")
    assert answer.json["seconds"] < 60
    assert installation.answers(answer) == undisturbed


def test_a_kill_costs_at_most_one_unit_per_worker(installation, long_scene):
    process = installation.start_run(long_scene, SWATH_WORKERS=str(WORKERS))
    run_id = installation.wait_for_units(process, 10)
    kill(process)
    before, done = object_times(installation), installation.progress(run_id).units_done
    installation.swath("resume", run_id, "--json")
    after = object_times(installation)
    assert len(after) == UNITS
    assert sum(after[path] != at for path, at in before.items()) <= WORKERS
    assert len(before) - done <= WORKERS  # objects put whose rows were not yet committed


def test_a_run_killed_again_and_again_still_ends_the_same(installation, long_scene, undisturbed):
    process = installation.start_run(long_scene)
    run_id = installation.wait_for_units(process, 5)
    kill(process)
    for count in (20, 40):
        process = installation.start("services.cli", "resume", run_id, "--json")
        installation.wait_for_units(process, count)
        kill(process)
    answer = installation.swath("resume", run_id, "--json")
    assert installation.answers(answer) == undisturbed


def test_a_run_killed_while_it_assembles_leaves_nothing_half_published(installation, long_scene, undisturbed):
    process = installation.start_run(long_scene, SWATH_LEASE_S="600")
    run_id = installation.wait_for_units(process, UNITS)
    wait_until(lambda: query(installation, "SELECT assembler FROM runs") != [(None,)], process)
    kill(process)
    shown = [name for name in installation.products() if not name.startswith(".")]
    answer = installation.swath("resume", run_id, "--json", SWATH_LEASE_S="600")
    assert shown == []
    assert answer.json["tiles"]["computed"] == UNITS * COLS
    assert installation.answers(answer) == undisturbed
    assert installation.products() == [run_id]


def test_a_product_whose_row_was_lost_in_a_crash_is_found_again(installation, scene):
    first = installation.run(scene)
    connection = sqlite3.connect(installation.folder / "home" / "swath.db")
    with connection:
        connection.execute("DELETE FROM products")
        connection.execute("UPDATE runs SET state = 'running', finished_at = NULL, assembler = 'gone:1:1.00'")
    connection.close()
    files = installation.answers(first)
    answer = installation.swath("resume", first.json["run_id"], "--json", SWATH_LEASE_S="1")
    assert answer.json["state"] == "published"
    assert installation.answers(answer) == files


def test_a_run_that_crashed_between_product_and_state_is_published_by_resume(installation, scene):
    first = installation.run(scene)
    connection = sqlite3.connect(installation.folder / "home" / "swath.db")
    with connection:
        connection.execute("UPDATE runs SET state = 'running', finished_at = NULL")
    connection.close()
    answer = installation.swath("resume", first.json["run_id"], "--json")
    assert (answer.code, answer.json["state"]) == (0, "published")


def test_resuming_a_published_run_reports_it_and_computes_nothing(installation, scene):
    first = installation.run(scene)
    again = installation.swath("resume", first.json["run_id"], "--json")
    assert again.code == 0
    assert {**again.json, "seconds": 0} == {**first.json, "seconds": 0}


def test_two_processes_on_one_run_share_it_and_both_end_well(installation, long_scene, undisturbed):
    process = installation.start_run(long_scene)
    run_id = installation.wait_for_units(process, 1)
    kill(process)
    pair = [installation.start("services.cli", "resume", run_id, "--json") for _ in range(2)]
    answers = [finish(each) for each in pair]
    assert [(each.code, each.err) for each in answers] == [(0, "")] * 2
    assert [installation.answers(each) for each in answers] == [undisturbed] * 2
    assert installation.products() == [run_id]
    workers = query(installation, "SELECT worker, count(*) FROM units WHERE NOT reused GROUP BY worker")
    assert sum(count for _, count in workers) == UNITS
    assert len(workers) >= 2


def test_a_second_process_inherits_the_work_of_a_killed_one(installation, long_scene, undisturbed):
    process = installation.start_run(long_scene, SWATH_LEASE_S="600")
    run_id = installation.wait_for_units(process, 5)
    other = installation.start("services.cli", "resume", run_id, "--json", SWATH_LEASE_S="600")
    wait_until(lambda: len(query(installation, "SELECT DISTINCT worker FROM units")) > 2, other)
    kill(process)
    answer = finish(other)
    assert (answer.code, answer.err) == (0, "")
    assert installation.answers(answer) == undisturbed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_asked_to_stop_gives_its_claims_back_and_exits_75(installation, long_scene, undisturbed, number):
    process = installation.start_run(long_scene)
    run_id = installation.wait_for_units(process, 5)
    process.send_signal(number)
    asked = time.monotonic()
    stopped = finish(process)
    assert stopped.code == 75
    assert stopped.sentence == f"swath: run {run_id} was asked to stop; go on with: swath resume {run_id}"
    assert time.monotonic() - asked < 10
    assert query(installation, "SELECT count(*) FROM units WHERE state = 'claimed'") == [(0,)]
    assert installation.answers(installation.swath("resume", run_id, "--json")) == undisturbed


def shards(place: Installation, run_id: str, count: int) -> list[Answer]:
    words = [("shard", "--run", run_id, "--index", index, "--count", count) for index in range(count)]
    return [finish(each) for each in [place.start("services.inference", *each) for each in words]]


def planned(place: Installation, scene: Path) -> str:
    """A run whose process died before it did anything: what a cluster's first step leaves behind."""
    process = place.start_run(scene)
    run_id = place.wait_for_units(process, 0)
    kill(process)
    return run_id


@pytest.mark.parametrize("count", [1, 3])
def test_shards_in_processes_of_their_own_make_the_same_product(installation, long_scene, undisturbed, count):
    run_id = planned(installation, long_scene)
    answers = shards(installation, run_id, count)
    assembled = installation.module("services.inference", "assemble", "--run", run_id)
    answer = installation.swath("resume", run_id, "--json")
    assert [each.code for each in [*answers, assembled]] == [0] * (count + 1)
    assert installation.answers(answer) == undisturbed


def test_a_shard_started_twice_computes_each_unit_once(installation, long_scene):
    run_id = planned(installation, long_scene)
    words = ("shard", "--run", run_id, "--index", 0, "--count", 2)
    pair = [installation.start("services.inference", *words) for _ in range(2)]
    assert [finish(each).code for each in pair] == [0, 0]
    assert query(installation, "SELECT count(*) FROM units WHERE state = 'done' AND NOT reused") == [(UNITS // 2,)]


def test_a_run_with_units_missing_is_not_assembled(installation, long_scene):
    run_id = planned(installation, long_scene)
    installation.module("services.inference", "shard", "--run", run_id, "--index", 0, "--count", 3)
    answer = installation.module("services.inference", "assemble", "--run", run_id)
    assert answer.code == 65
    assert "54 units" in answer.err
    assert installation.products() == []


def test_a_shard_that_does_not_exist_is_refused(installation, long_scene):
    run_id = planned(installation, long_scene)
    answer = installation.module("services.inference", "shard", "--run", run_id, "--index", 3, "--count", 3)
    assert answer.code == 65
    assert "no shard 3 of 3" in answer.err
