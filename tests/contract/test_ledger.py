"""The ledger on SQLite and on PostgreSQL: no unit is lost, none is done twice, whatever dies and whenever."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from typing import Any

import pytest
from sqlalchemy import Connection, text, update

from services.core.catalog.catalog import Catalog, open_catalog
from services.core.catalog.ledger import Ledger
from services.core.catalog.tables import runs, units
from services.core.errors import (
    CoverageError,
    DatabaseUnavailableError,
    NondeterminismError,
    ObjectNotFoundError,
    RequestError,
)
from services.core.records import RunProgress, RunState
from services.core.worker import worker_alive, worker_name
from tests import catalogs
from tests.postgres import run_postgres

pytest_plugins = ["tests.postgres"]

SPAWN = get_context("spawn")


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[Catalog]:
    with open_catalog(catalog_url) as opened:
        yield catalogs.seeded(opened)


@pytest.fixture
def ledger(catalog: Catalog) -> Ledger:
    return Ledger(catalog)


def finish_all(ledger: Ledger, run_id: str, worker: str = "w") -> list[int]:
    done = []
    while (unit := ledger.claim_unit(run_id, worker)) is not None:
        ledger.finish_unit(run_id, unit.index, worker, catalogs.result(unit))
        done.append(unit.index)
    return done


def lose_next_answer(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next commit happens, but its answer never comes."""
    dialect = catalog.database.engine.dialect
    commit = dialect.do_commit

    def commit_then_break(connection: Any) -> None:
        monkeypatch.undo()
        commit(connection)
        error = dialect.dbapi.OperationalError("connection lost")  # type: ignore[union-attr]
        error.sqlite_errorname = "SQLITE_BUSY"
        raise error

    monkeypatch.setattr(dialect, "do_commit", commit_then_break)


def count_claims(catalog: Catalog) -> int:
    return catalog.database.read(
        lambda conn: conn.execute(text("SELECT count(*) FROM units WHERE state = 'claimed'")).scalar_one()
    )


def test_units_are_claimed_in_order_and_results_come_back_in_order(ledger: Ledger) -> None:
    units = catalogs.plan(5)
    ledger.create_run(catalogs.run(), units[::-1])

    assert finish_all(ledger, "run-1") == [0, 1, 2, 3, 4]
    assert ledger.results("run-1") == [(unit, catalogs.result(unit)) for unit in units]


def test_tiles_are_computed_reused_or_masked_and_nothing_else(ledger: Ledger) -> None:
    ledger.create_run(catalogs.run(), catalogs.plan(3))
    finish_all(ledger, "run-1")

    ledger.create_run(catalogs.run("run-2"), catalogs.plan(5))
    unit = ledger.claim_unit("run-2", "w")
    ledger.finish_unit("run-2", unit.index, "w", catalogs.result(unit, masked=2))
    finish_all(ledger, "run-2")

    expected = {"units": 5, "units_done": 5, "tiles_planned": 20}
    expected |= {"tiles_computed": 6, "tiles_reused": 12, "tiles_masked": 2}
    assert ledger.progress("run-2") == RunProgress(**expected)


def test_a_later_run_reuses_what_is_done_at_once(ledger: Ledger) -> None:
    ledger.create_run(catalogs.run(), catalogs.plan(200))
    finish_all(ledger, "run-1")

    progress = ledger.create_run(catalogs.run("run-2"), catalogs.plan(200))

    assert (progress.units_done, progress.tiles_computed) == (200, 0)
    assert ledger.claim_unit("run-2", "w") is None
    assert ledger.results("run-2") == ledger.results("run-1")


def test_a_result_with_masked_tiles_is_computed_again_and_stays_what_its_run_was_made_from(ledger: Ledger) -> None:
    ledger.create_run(catalogs.run(), catalogs.plan(1))
    unit = ledger.claim_unit("run-1", "w")
    holed = catalogs.result(unit, masked=2)
    ledger.finish_unit("run-1", 0, "w", holed)

    ledger.create_run(catalogs.run("run-2"), catalogs.plan(1))
    again = ledger.claim_unit("run-2", "w")
    better = catalogs.result(unit).model_copy(update={"sha256": "e" * 64})
    ledger.finish_unit("run-2", 0, "w", better)

    assert again == unit
    assert [result for _, result in ledger.results("run-2")] == [better]
    assert [result for _, result in ledger.results("run-1")] == [holed]
    assert ledger.create_run(catalogs.run("run-3"), catalogs.plan(1)).units_done == 1


def test_the_ledger_counts_what_is_left_and_how_fast_it_went(ledger: Ledger) -> None:
    ledger.create_run(catalogs.run(), catalogs.plan(4))
    unit = ledger.claim_unit("run-1", "w")
    ledger.finish_unit("run-1", unit.index, "w", catalogs.result(unit))
    planned = catalogs.run()

    assert ledger.pending("run-1") == 3
    assert ledger.pending("run-1", indices=range(2)) == 1
    assert ledger.count_results([u.key for u in catalogs.plan(4)]) == 1
    assert ledger.pace(planned.model_digest, planned.tile_px, planned.backend) is not None
    assert ledger.pace("0" * 64, planned.tile_px, planned.backend) is None


def test_what_another_run_finishes_meanwhile_is_not_handed_out(ledger: Ledger) -> None:
    ledger.create_run(catalogs.run("run-1"), catalogs.plan(4))
    ledger.create_run(catalogs.run("run-2"), catalogs.plan(5))
    finish_all(ledger, "run-1")

    unit = ledger.claim_unit("run-2", "w")

    assert unit is not None
    assert unit.index == 4
    assert ledger.progress("run-2").units_done == 4


def test_creating_a_run_again_goes_on_with_it(ledger: Ledger) -> None:
    ledger.create_run(catalogs.run(), catalogs.plan(3))
    ledger.claim_unit("run-1", "w")
    ledger.finish_unit("run-1", 0, "w", catalogs.result(catalogs.plan(1)[0]))

    assert ledger.create_run(catalogs.run(), catalogs.plan(3)).units_done == 1
    with pytest.raises(RequestError, match="other work to do"):
        ledger.create_run(catalogs.run(), catalogs.plan(4))


def test_a_run_that_makes_no_sense_is_refused(ledger: Ledger) -> None:
    with pytest.raises(RequestError, match="needs units"):
        ledger.create_run(catalogs.run(), [])
    with pytest.raises(RequestError, match="index of its own"):
        ledger.create_run(catalogs.run(), catalogs.plan(1) * 2)
    with pytest.raises(ObjectNotFoundError, match="scene nowhere"):
        ledger.create_run(catalogs.run(scene_id="nowhere"), catalogs.plan(1))
    with pytest.raises(ObjectNotFoundError, match="model"):
        ledger.create_run(catalogs.run(model_digest="0" * 64), catalogs.plan(1))


def test_an_unknown_run_is_not_mistaken_for_a_finished_one(ledger: Ledger) -> None:
    for ask in (ledger.progress, ledger.run_state, lambda run: ledger.claim_unit(run, "w")):
        with pytest.raises(ObjectNotFoundError, match="no run 'run-9'"):
            ask("run-9")
    with pytest.raises(ObjectNotFoundError, match="no unit 7"):
        ledger.finish_unit("run-9", 7, "w", catalogs.result(catalogs.plan(1)[0]))


def test_a_shard_claims_only_its_own_units(ledger: Ledger) -> None:
    ledger.create_run(catalogs.run(), catalogs.plan(6))

    claimed = [ledger.claim_unit("run-1", "w", indices=range(2, 4)) for _ in range(3)]

    assert [unit and unit.index for unit in claimed] == [2, 3, None]
    with pytest.raises(RequestError, match="neighbouring"):
        ledger.claim_unit("run-1", "w", indices=range(0, 6, 2))


def test_finishing_twice_is_harmless_and_the_second_is_told(ledger: Ledger) -> None:
    (unit,) = catalogs.plan(1)
    ledger.create_run(catalogs.run(), [unit])
    ledger.claim_unit("run-1", "first")

    assert ledger.finish_unit("run-1", 0, "second", catalogs.result(unit))
    assert not ledger.finish_unit("run-1", 0, "first", catalogs.result(unit))
    assert ledger.finish_unit("run-1", 0, "second", catalogs.result(unit))  # an answer that was lost
    assert ledger.progress("run-1").tiles_computed == unit.tiles


def test_other_bytes_under_one_key_are_a_loud_error_and_change_nothing(ledger: Ledger) -> None:
    (unit,) = catalogs.plan(1)
    ledger.create_run(catalogs.run(), [unit])
    ledger.create_run(catalogs.run("run-2"), [unit])
    ledger.claim_unit("run-2", "w")
    ledger.finish_unit("run-1", 0, "w", catalogs.result(unit))

    with pytest.raises(NondeterminismError, match="before: its key leaves out"):
        ledger.finish_unit("run-2", 0, "w", catalogs.result(unit, sha256="6" * 64))
    assert ledger.progress("run-2").units_done == 0


def test_a_result_of_another_unit_is_refused(ledger: Ledger) -> None:
    units = catalogs.plan(2)
    ledger.create_run(catalogs.run(), units)

    with pytest.raises(RequestError, match="is not that of unit 0"):
        ledger.finish_unit("run-1", 0, "w", catalogs.result(units[1]))
    with pytest.raises(RequestError, match="9 masked"):
        ledger.finish_unit("run-1", 0, "w", catalogs.result(units[0], masked=9))


def lapse(catalog: Catalog) -> None:
    """Let every lease end, as if nobody had renewed it for as long as it lasts."""

    def work(conn: Connection) -> None:
        conn.execute(update(units).values(lease_until_s=0))
        conn.execute(update(runs).values(assembly_until_s=0))

    catalog.database.write(work)


def test_a_lease_that_lapses_gives_the_unit_to_the_next(catalog: Catalog) -> None:
    ledger = Ledger(catalog)
    ledger.create_run(catalogs.run(), catalogs.plan(1))
    ledger.claim_unit("run-1", "silent")

    assert ledger.claim_unit("run-1", "next") is None
    lapse(catalog)
    assert ledger.claim_unit("run-1", "next") == catalogs.plan(1)[0]
    assert ledger.renew("run-1", "silent") == 0


def test_a_heartbeat_keeps_all_of_a_workers_claims(catalog: Catalog) -> None:
    ledger = Ledger(catalog)
    ledger.create_run(catalogs.run(), catalogs.plan(2))
    ledger.claim_unit("run-1", "busy")
    ledger.claim_unit("run-1", "busy")
    lapse(catalog)

    assert ledger.renew("run-1", "busy") == 2
    assert ledger.claim_unit("run-1", "next") is None


def test_a_worker_told_to_stop_gives_its_units_back_at_once(ledger: Ledger) -> None:
    ledger.create_run(catalogs.run(), catalogs.plan(3))
    ledger.claim_unit("run-1", "stopped")
    ledger.claim_unit("run-1", "other")
    ledger.claim_assembly("run-1", "stopped")

    assert ledger.release("run-1", "stopped") == 1
    assert ledger.claim_unit("run-1", "next") == catalogs.plan(1)[0]
    assert ledger.claim_assembly("run-1", "next")


def test_one_worker_assembles_and_the_next_only_when_it_is_gone(catalog: Catalog) -> None:
    ledger = Ledger(catalog)
    ledger.create_run(catalogs.run(), catalogs.plan(1))

    assert [ledger.claim_assembly("run-1", worker) for worker in ("a", "b", "a")] == [True, False, True]
    assert ledger.renew("run-1", "a") == 1
    lapse(catalog)
    assert ledger.claim_assembly("run-1", "b")


def test_a_run_is_published_only_when_every_unit_is_done_and_stays_so(ledger: Ledger) -> None:
    ledger.create_run(catalogs.run(), catalogs.plan(2))
    ledger.set_state("run-1", RunState.FAILED, "the store was away")

    with pytest.raises(CoverageError, match="2 of its 2 units"):
        ledger.set_state("run-1", RunState.PUBLISHED)
    finish_all(ledger, "run-1")

    assert ledger.set_state("run-1", RunState.PUBLISHED) is RunState.PUBLISHED
    assert ledger.set_state("run-1", RunState.RUNNING) is RunState.PUBLISHED
    assert not ledger.claim_assembly("run-1", "w")


def test_the_end_of_a_run_and_its_error_are_kept_and_cleared(catalog: Catalog, ledger: Ledger) -> None:
    ledger.create_run(catalogs.run(), catalogs.plan(1))
    ledger.set_state("run-1", RunState.FAILED, "the store was away")
    failed = catalog.run("run-1")
    ledger.set_state("run-1", RunState.RUNNING)
    resumed = catalog.run("run-1")

    assert failed.error == "the store was away"
    assert failed.finished_at is not None
    assert (resumed.error, resumed.finished_at) == (None, None)


def test_a_forgotten_result_is_computed_again_but_no_product_is_withdrawn(ledger: Ledger) -> None:
    units = catalogs.plan(2)
    for run_id in ("published", "waiting"):
        ledger.create_run(catalogs.run(run_id), units)
        finish_all(ledger, run_id)
    ledger.set_state("published", RunState.PUBLISHED)

    assert ledger.forget_result(units[1].key) == 1
    assert ledger.forget_result(units[1].key) == 0
    assert ledger.progress("published").units_done == 2
    assert ledger.progress("waiting").units_done == 1
    assert finish_all(ledger, "waiting") == [1]
    assert ledger.create_run(catalogs.run("later"), units).units_done == 2


def test_a_published_run_is_opened_again_with_its_lost_units_pending(catalog: Catalog, ledger: Ledger) -> None:
    units = catalogs.plan(3)
    ledger.create_run(catalogs.run(), units)
    finish_all(ledger, "run-1")
    assert ledger.claim_assembly("run-1", "w")
    catalog.add_product(catalogs.product("run-1"))
    ledger.set_state("run-1", RunState.PUBLISHED)
    ledger.forget_result(units[1].key)

    ledger.reopen("run-1", "map.tif is gone")

    assert (ledger.run_state("run-1"), catalog.run("run-1").error) == (RunState.FAILED, "map.tif is gone")
    assert catalog.find_product("run-1") is None
    assert finish_all(ledger, "run-1") == [1]
    assert ledger.claim_assembly("run-1", "another")
    ledger.set_state("run-1", RunState.PUBLISHED)
    assert ledger.progress("run-1").units_done == 3


def test_only_a_published_run_is_opened_again(ledger: Ledger) -> None:
    ledger.create_run(catalogs.run(), catalogs.plan(1))
    ledger.reopen("run-1", "?")
    assert ledger.run_state("run-1") is RunState.PLANNED
    with pytest.raises(ObjectNotFoundError):
        ledger.reopen("run-2", "?")


@pytest.mark.parametrize(("state", "done"), [(RunState.FAILED, 1), (RunState.PUBLISHED, 2)])
def test_a_run_under_way_that_goes_on_has_no_unit_without_a_result(
    catalog: Catalog, ledger: Ledger, state: RunState, done: int
) -> None:
    ledger.create_run(catalogs.run(), catalogs.plan(2))
    finish_all(ledger, "run-1")
    ledger.set_state("run-1", state)
    lost = update(units).where(units.c.index == 1).values(result_key=None, key="9" * 64)  # as schema 0004 left some
    catalog.database.write(lambda conn: conn.execute(lost))
    planned = [catalogs.plan(1)[0], catalogs.plan(2)[1].model_copy(update={"key": "9" * 64})]

    assert ledger.create_run(catalogs.run(), planned).units_done == done
    assert ledger.pending("run-1") == 2 - done


def test_two_processes_share_the_units_and_none_is_lost_or_done_twice(catalog_url: str, ledger: Ledger) -> None:
    ledger.create_run(catalogs.run(), catalogs.plan(200))

    with SPAWN.Manager() as manager, ProcessPoolExecutor(2, mp_context=SPAWN) as pool:
        together = manager.Barrier(2)
        jobs = [pool.submit(catalogs.work_through, catalog_url, "run-1", together) for _ in range(2)]
        shares = [job.result(timeout=300) for job in jobs]

    assert sorted(shares[0] + shares[1]) == list(range(200))
    assert all(shares)
    assert ledger.progress("run-1").tiles_computed == 800


def test_a_killed_process_gives_its_unit_back_without_waiting_for_the_lease(catalog_url: str, ledger: Ledger) -> None:
    ledger.create_run(catalogs.run(), catalogs.plan(1))
    ready = SPAWN.Event()
    process = SPAWN.Process(target=catalogs.claim_and_hang, args=(catalog_url, "run-1", ready))
    process.start()
    assert ready.wait(300)
    assert ledger.release_dead("run-1", worker_alive) == 0

    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()

    assert ledger.release_dead("run-1", worker_alive) == 1
    assert ledger.claim_unit("run-1", worker_name()) == catalogs.plan(1)[0]
    assert ledger.claim_assembly("run-1", worker_name())


def test_a_worker_of_another_host_keeps_its_claim_until_the_lease_ends(ledger: Ledger) -> None:
    ledger.create_run(catalogs.run(), catalogs.plan(1))
    ledger.claim_unit("run-1", "elsewhere:1:1700000000.00")

    assert ledger.release_dead("run-1", worker_alive) == 0


def test_a_pid_used_again_is_not_taken_for_the_worker() -> None:
    host, pid, started = worker_name().rsplit(":", 2)

    assert worker_alive(worker_name()) is True
    assert worker_alive(f"{host}:{pid}:{float(started) - 60:.2f}") is False
    assert worker_alive(f"{host}:{2**22 + 1}:{started}") is False
    assert [worker_alive(name) for name in ("", "w", f"{host}:x:y", f"other:{pid}:{started}")] == [None] * 4


def test_many_threads_of_one_process_share_a_ledger(ledger: Ledger) -> None:
    ledger.create_run(catalogs.run(), catalogs.plan(60))

    with ThreadPoolExecutor(6) as pool:
        shares = list(pool.map(lambda number: finish_all(ledger, "run-1", f"thread-{number}"), range(6)))

    assert sorted(index for share in shares for index in share) == list(range(60))


def test_a_claim_whose_answer_was_lost_is_found_again(
    catalog: Catalog, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.create_run(catalogs.run(), catalogs.plan(2))
    lose_next_answer(catalog, monkeypatch)

    unit = ledger.claim_unit("run-1", "w")

    assert unit == catalogs.plan(1)[0]
    assert count_claims(catalog) == 1


def test_a_finish_whose_answer_was_lost_is_still_ours(
    catalog: Catalog, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    (unit,) = catalogs.plan(1)
    ledger.create_run(catalogs.run(), [unit])
    ledger.claim_unit("run-1", "w")
    lose_next_answer(catalog, monkeypatch)

    assert ledger.finish_unit("run-1", 0, "w", catalogs.result(unit))


def test_forgetting_while_others_reuse_leaves_no_hole(catalog_url: str, ledger: Ledger) -> None:
    (unit,) = units = catalogs.plan(1)
    ledger.create_run(catalogs.run("run-0"), units)
    finish_all(ledger, "run-0")
    with ThreadPoolExecutor(2) as pool:
        for number in range(1, 30):
            jobs = [
                pool.submit(ledger.create_run, catalogs.run(f"run-{number}"), units),
                pool.submit(ledger.forget_result, unit.key),
            ]
            for job in jobs:
                job.result()
            run_id = f"run-{number}"
            assert ledger.progress(run_id).units_done == len(ledger.results(run_id))
            finish_all(ledger, run_id)


@pytest.mark.postgres
def test_a_server_that_restarts_is_waited_for_and_one_that_does_not_is_retryable() -> None:
    with ExitStack() as stack:
        server = stack.enter_context(run_postgres())
        url = server.new_database()
        ledger = Ledger(catalogs.seeded(stack.enter_context(open_catalog(url, patience_s=300))))
        hasty = Ledger(stack.enter_context(open_catalog(url, patience_s=0.5)))
        ledger.create_run(catalogs.run(), catalogs.plan(3))
        ledger.claim_unit("run-1", "w")

        server.stop()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(ledger.claim_unit, "run-1", "w")
            time.sleep(1)
            server.start()
            assert waiting.result(timeout=300) == catalogs.plan(2)[1]
        server.stop()
        with pytest.raises(DatabaseUnavailableError, match="does not answer"):
            hasty.claim_unit("run-1", "w")
        server.start()
        assert ledger.claim_unit("run-1", "w") == catalogs.plan(3)[2]
