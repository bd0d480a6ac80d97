"""What units left behind: SQL of results. Every function is part of the caller's transaction, and may be repeated."""

from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, delete, func, select, update

from services.core.catalog.claims import planned_unit
from services.core.catalog.database import insert_into
from services.core.catalog.tables import runs, unit_results, units
from services.core.errors import NondeterminismError, ObjectNotFoundError, RequestError
from services.core.names import unit_result_key
from services.core.records import PlannedUnit, RunState, UnitResult, UnitState

#: Of a unit whose result is lost.
_PENDING = {"state": UnitState.PENDING, "reused": False, "masked": 0, "result_key": None, "worker": None}


def record_result(conn: Connection, run_id: str, index: int, worker: str, result: UnitResult) -> bool:
    """Keep the result for every run, and mark this run's unit done; False: somebody else had done it.

    Raises:
        NondeterminismError: The key already has a result with other bytes.
        ObjectNotFoundError: The run has no such unit.
        RequestError: The result is another unit's.
    """
    _check_fit(conn, run_id, index, result)
    _keep(conn, run_id, result)
    done = conn.execute(
        update(units)
        .where(units.c.run_id == run_id, units.c.index == index, units.c.state != UnitState.DONE)
        .values(
            state=UnitState.DONE,
            reused=False,
            worker=worker,
            claim=None,
            lease_until_s=None,
            masked=result.masked,
            result_key=result.key,
        )
    )
    if done.rowcount == 1:
        return True
    # Ours all the same, when the answer to our first commit was lost.
    who = select(units.c.worker).where(units.c.run_id == run_id, units.c.index == index)
    return bool(conn.execute(who).scalar_one() == worker)


def forget(conn: Connection, key: str) -> int:
    """Delete a result; units of unpublished runs that relied on it are pending again. Returns how many."""
    # First of all, so that no run takes the result up between the statements below: a reference to it locks its row.
    conn.execute(select(unit_results.c.key).where(unit_results.c.key == key).with_for_update())
    unpublished = select(runs.c.id).where(runs.c.state != RunState.PUBLISHED)
    again = conn.execute(
        update(units).where(units.c.result_key == key, units.c.run_id.in_(unpublished)).values(_PENDING)
    )
    conn.execute(update(units).where(units.c.result_key == key).values(result_key=None))
    conn.execute(delete(unit_results).where(unit_results.c.key == key))
    return again.rowcount


def await_lost(conn: Connection, run_id: str) -> None:
    """Units of a run that is published no longer are pending where `forget` has left them without a result."""
    conn.execute(update(units).where(_lost(run_id)).values(_PENDING))


def count_lost(conn: Connection, run_id: str) -> int:
    """Done units of a run whose result was taken back: of a published one, which stays published without it."""
    return int(conn.execute(select(func.count()).where(_lost(run_id))).scalar_one())


def list_results(conn: Connection, run_id: str) -> list[tuple[PlannedUnit, UnitResult]]:
    """Done units of a run with their results, in order of index."""
    planned = [units.c[name] for name in PlannedUnit.model_fields]
    found = [unit_results.c[name].label(f"result_{name}") for name in UnitResult.model_fields]
    rows = conn.execute(
        select(*planned, *found)
        .join(unit_results, unit_results.c.key == units.c.result_key)
        .where(units.c.run_id == run_id)
        .order_by(units.c.index)
    ).mappings()
    return [(planned_unit(row), _unit_result(row)) for row in rows]


def _lost(run_id: str) -> ColumnElement[bool]:
    return and_(units.c.run_id == run_id, units.c.state == UnitState.DONE, units.c.result_key.is_(None))


def _unit_result(row: RowMapping) -> UnitResult:
    return UnitResult.model_validate({name: row[f"result_{name}"] for name in UnitResult.model_fields})


def _check_fit(conn: Connection, run_id: str, index: int, result: UnitResult) -> None:
    planned = conn.execute(
        select(units.c.key, units.c.tiles).where(units.c.run_id == run_id, units.c.index == index)
    ).first()
    if planned is None:
        raise ObjectNotFoundError(f"run {run_id} has no unit {index}")
    key = unit_result_key(planned.key, result.sha256, masked=result.masked)
    if (result.key, result.tiles) != (key, planned.tiles) or not 0 <= result.masked <= result.tiles:
        raise RequestError(
            f"the result of {result.tiles} tiles ({result.masked} masked) under key {result.key[:12]} is not that of "
            f"unit {index} of run {run_id}, which has {planned.tiles} tiles and key {planned.key[:12]}"
        )


def _keep(conn: Connection, run_id: str, result: UnitResult) -> None:
    values = {**result.model_dump(), "run_id": run_id, "created_at": datetime.now(UTC)}
    insert = insert_into(conn, unit_results).values(values)
    # An update that changes nothing answers with the row that stands, and keeps `forget` from it until we are done.
    kept = conn.execute(
        insert.on_conflict_do_update(index_elements=["key"], set_={"key": insert.excluded.key}).returning(
            unit_results.c.sha256
        )
    ).scalar_one()
    if kept != result.sha256:
        raise NondeterminismError(
            f"unit {result.key[:12]} gave {result.sha256[:12]} in run {run_id}, and {kept[:12]} before: its key leaves "
            "out something that changes its bytes, or a machine computes wrongly; forget the old result to go on"
        )
