"""Rows of a run and its units, within somebody's transaction: made, compared, counted."""

from collections.abc import Sequence

from sqlalchemy import Connection, and_, case, func, insert, select

from services.core.catalog.database import insert_into
from services.core.catalog.rows import document
from services.core.catalog.tables import models, runs, scenes, units
from services.core.errors import CoverageError, ObjectNotFoundError, RequestError
from services.core.records import PlannedUnit, Run, RunProgress, RunState, UnitState


def insert_run(conn: Connection, run: Run, planned: Sequence[PlannedUnit]) -> bool:
    """False: the run was there."""
    values = document(run) | {"created_at": run.created_at, "finished_at": run.finished_at}
    inserted = conn.execute(
        insert_into(conn, runs).values(values).on_conflict_do_nothing(index_elements=["id"]).returning(runs.c.id)
    ).first()
    if inserted is None:
        return False
    conn.execute(
        insert(units),
        [unit.model_dump() | {"run_id": run.id, "state": UnitState.PENDING} for unit in planned],
    )
    return True


def check_references(conn: Connection, run: Run) -> None:
    """Raise unless the catalog has the run's scene and model.

    Raises:
        ObjectNotFoundError: It lacks one.
    """
    if conn.execute(select(scenes.c.id).where(scenes.c.id == run.scene_id)).first() is None:
        raise ObjectNotFoundError(f"run {run.id} names scene {run.scene_id}, which the catalog lacks; ingest it first")
    if conn.execute(select(models.c.digest).where(models.c.digest == run.model_digest)).first() is None:
        raise ObjectNotFoundError(
            f"run {run.id} names model {run.model_name} ({run.model_digest[:12]}), which the catalog lacks; register it"
        )


def check_same_work(conn: Connection, run: Run, planned: Sequence[PlannedUnit]) -> None:
    """Raise unless the run that is there has the same scene, model and units.

    Raises:
        RequestError: It has other work to do.
    """
    head = conn.execute(select(runs.c.scene_id, runs.c.model_digest).where(runs.c.id == run.id)).one()
    keys = conn.execute(select(units.c.index, units.c.key).where(units.c.run_id == run.id)).all()
    same_work = {(index, key) for index, key in keys} == {(unit.index, unit.key) for unit in planned}
    if tuple(head) != (run.scene_id, run.model_digest) or not same_work:
        raise RequestError(f"run {run.id} already exists with other work to do; give the new one another id")


def read_state(conn: Connection, run_id: str) -> RunState:
    """Where the run stands.

    Raises:
        ObjectNotFoundError: No such run.
    """
    state = conn.execute(select(runs.c.state).where(runs.c.id == run_id)).scalar_one_or_none()
    if state is None:
        raise ObjectNotFoundError(f"no run {run_id!r} in the catalog")
    return RunState(state)


def count_progress(conn: Connection, run_id: str) -> RunProgress:
    """The run's units and tiles, counted by what became of them.

    Raises:
        ObjectNotFoundError: No such run.
    """
    read_state(conn, run_id)
    done = units.c.state == UnitState.DONE
    good = units.c.tiles - units.c.masked
    columns = {
        "units": func.count(),
        "units_done": func.sum(case((done, 1), else_=0)),
        "tiles_planned": func.sum(units.c.tiles),
        "tiles_computed": func.sum(case((and_(done, ~units.c.reused), good), else_=0)),
        "tiles_reused": func.sum(case((and_(done, units.c.reused), good), else_=0)),
        "tiles_masked": func.sum(case((done, units.c.masked), else_=0)),
    }
    labelled = [column.label(name) for name, column in columns.items()]
    row = conn.execute(select(*labelled).where(units.c.run_id == run_id)).mappings().one()
    return RunProgress.model_validate(dict(row))


def check_covered(progress: RunProgress, run_id: str) -> None:
    """Raise unless every unit is done.

    Raises:
        CoverageError: Some are not.
    """
    missing = progress.units - progress.units_done
    if missing:
        raise CoverageError(
            f"run {run_id} cannot be published: {missing} of its {progress.units} units are not done; resume it"
        )
