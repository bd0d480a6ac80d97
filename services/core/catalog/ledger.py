"""The ledger of runs: units planned, claimed, done, and by whom. Rows only: the caller writes objects first."""

import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection, and_, case, delete, func, insert, select, update

from services.core.catalog import claims, figures, outcomes
from services.core.catalog.catalog import Catalog
from services.core.catalog.database import insert_into
from services.core.catalog.rows import clean, document
from services.core.catalog.tables import models, products, runs, scenes, units
from services.core.errors import CoverageError, ObjectNotFoundError, RequestError
from services.core.records import PlannedUnit, Run, RunProgress, RunState, UnitResult, UnitState


class Ledger:
    """Claims with leases, results found by key; every method is one transaction, atomic between processes and hosts.

    All raise `DatabaseUnavailableError` when the catalog stays away. Safe to share between threads.
    """

    def __init__(self, catalog: Catalog, *, lease_s: float = 60.0) -> None:
        """A ledger in an open catalog.

        Args:
            catalog: From `open_catalog`.
            lease_s: How long a claim lasts without `renew`; renew at a third of it.
        """
        self._database = catalog.database
        self._lease_s = lease_s

    def create_run(self, run: Run, units: Sequence[PlannedUnit]) -> RunProgress:
        """Plan a run; units that any run has already done are done at once. The same run again goes on with it.

        Raises:
            ObjectNotFoundError: The catalog knows no such scene or model.
            RequestError: No units, two with one index, or a run of this id with other work to do.
        """
        if not units or len({unit.index for unit in units}) != len(units):
            raise RequestError(f"run {run.id} needs units, each with an index of its own")

        def work(conn: Connection) -> RunProgress:
            _check_references(conn, run)
            if not _insert_run(conn, run, units):
                _check_same(conn, run, units)
            claims.reuse_finished(conn, run.id)
            return _progress(conn, run.id)

        return self._database.write(work)

    def claim_unit(self, run_id: str, worker: str, *, indices: range | None = None) -> PlannedUnit | None:
        """Claim the lowest unit that is pending, else the lowest whose worker let its lease lapse.

        Args:
            run_id: The run.
            worker: From `worker_name`; it may hold several units.
            indices: Only units in this range of step 1: a shard; None: any.

        Returns:
            None when nothing is free; others may still be at work: `progress` tells.

        Raises:
            ObjectNotFoundError: No such run.
            RequestError: A range with gaps.
        """
        if indices is not None and indices.step != 1:
            raise RequestError(f"a shard is a run of neighbouring units; {indices} leaves some out")
        claim = claims.Claim(
            run_id=run_id, worker=worker, token=uuid.uuid4().hex, lease_s=self._lease_s, indices=indices
        )
        while True:
            found = self._database.write(lambda conn: claims.claim_next(conn, claim))
            if found is None:
                self.run_state(run_id)  # a run that does not exist has nothing to do either
            if found != "reusable":
                return found
            self._database.write(lambda conn: claims.reuse_finished(conn, run_id))

    def renew(self, run_id: str, worker: str) -> int:
        """The worker's heartbeat: prolong all it holds; returns how many leases that were."""
        return self._database.write(lambda conn: claims.renew_claims(conn, run_id, worker, self._lease_s))

    def finish_unit(self, run_id: str, index: int, worker: str, result: UnitResult) -> bool:
        """Commit a unit whose object is in the store; first come, first kept, and twice is harmless.

        Returns:
            False when somebody else had already finished it.

        Raises:
            NondeterminismError: The key already has a result with other bytes.
            ObjectNotFoundError: The run has no such unit.
            RequestError: The result is another unit's.
        """
        return self._database.write(lambda conn: outcomes.record_result(conn, run_id, index, worker, result))

    def release(self, run_id: str, worker: str) -> int:
        """Give back at once all the worker holds (it was told to stop); returns how many units."""
        return self._database.write(lambda conn: claims.release_claims(conn, run_id, worker))

    def release_dead(self, run_id: str, alive: Callable[[str], bool | None]) -> int:
        """Give back what workers hold of whom `alive` says False; returns how many units.

        Where it says None (another host), the lease decides.
        """
        return sum(self.release(run_id, worker) for worker in sorted(self.holders(run_id)) if alive(worker) is False)

    def holders(self, run_id: str) -> set[str]:
        """Workers that hold a unit of the run, or its assembly."""
        return self._database.read(lambda conn: claims.list_holders(conn, run_id))

    def forget_result(self, key: str) -> int:
        """Drop a result whose object is missing or damaged; returns how many units are pending again.

        Published runs stay published: their product no longer needs the object.
        """
        return self._database.write(lambda conn: outcomes.forget(conn, key))

    def results(self, run_id: str) -> list[tuple[PlannedUnit, UnitResult]]:
        """Done units with what they left behind, in order of index.

        Without those whose object is lost, see `forget_result`; `lost` counts them.
        """
        return self._database.read(lambda conn: outcomes.list_results(conn, run_id))

    def progress(self, run_id: str) -> RunProgress:
        """Counts; when all units are done, planned = computed + reused + masked.

        Raises:
            ObjectNotFoundError: No such run.
        """
        return self._database.read(lambda conn: _progress(conn, run_id))

    def pending(self, run_id: str, *, indices: range | None = None) -> int:
        """Units that are not done, in the whole run or in one shard of it."""
        return self._database.read(lambda conn: figures.count_pending(conn, run_id, indices))

    def lost(self, run_id: str) -> int:
        """Done units that have no result any more: their object was lost after the run was published."""
        return self._database.read(lambda conn: outcomes.count_lost(conn, run_id))

    def count_results(self, keys: Sequence[str]) -> int:
        """How many of these units an earlier run has left for reuse."""
        return self._database.read(lambda conn: figures.count_results(conn, keys))

    def pace(self, model_digest: str, tile_px: int, backend: str) -> float | None:
        """Seconds of one worker per tile in the newest comparable run; None: never measured here."""
        return self._database.read(lambda conn: figures.measure_pace(conn, model_digest, tile_px, backend))

    def run_state(self, run_id: str) -> RunState:
        """Where the run stands.

        Raises:
            ObjectNotFoundError: No such run.
        """
        return self._database.read(lambda conn: _state(conn, run_id))

    def set_state(self, run_id: str, state: RunState, error: str | None = None) -> RunState:
        """Move a run on; returns the state it is in now, for a published run stays published.

        Raises:
            ObjectNotFoundError: No such run.
            CoverageError: To be published, but some unit is not done.
        """
        ended = state in {RunState.PUBLISHED, RunState.FAILED}

        def work(conn: Connection) -> RunState:
            if _state(conn, run_id) is RunState.PUBLISHED:
                return RunState.PUBLISHED
            if state is RunState.PUBLISHED:
                _check_covered(_progress(conn, run_id), run_id)
            conn.execute(
                update(runs)
                .where(runs.c.id == run_id, runs.c.state != RunState.PUBLISHED)
                .values(
                    state=state,
                    error=None if error is None else clean(error),
                    finished_at=datetime.now(UTC) if ended else None,
                )
            )
            return _state(conn, run_id)

        return self._database.write(work)

    def reopen(self, run_id: str, reason: str) -> None:
        """Take back that a run was published, for what it left is damaged; its lost units are pending again.

        Raises:
            ObjectNotFoundError: No such run.
        """

        def work(conn: Connection) -> None:
            if _state(conn, run_id) is not RunState.PUBLISHED:
                return
            conn.execute(delete(products).where(products.c.run_id == run_id))
            outcomes.await_lost(conn, run_id)
            conn.execute(
                update(runs)
                .where(runs.c.id == run_id)
                .values(state=RunState.FAILED, error=clean(reason), assembler=None, finished_at=datetime.now(UTC))
            )

        self._database.write(work)

    def claim_assembly(self, run_id: str, worker: str) -> bool:
        """Claim the making of the product, under the same lease as units; False: another has it, or it is made.

        Raises:
            ObjectNotFoundError: No such run.
        """

        def work(conn: Connection) -> bool:
            _state(conn, run_id)
            return claims.claim_run(conn, run_id, worker, self._lease_s)

        return self._database.write(work)


def _insert_run(conn: Connection, run: Run, planned: Sequence[PlannedUnit]) -> bool:
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


def _check_references(conn: Connection, run: Run) -> None:
    if conn.execute(select(scenes.c.id).where(scenes.c.id == run.scene_id)).first() is None:
        raise ObjectNotFoundError(f"run {run.id} names scene {run.scene_id}, which the catalog lacks; ingest it first")
    if conn.execute(select(models.c.digest).where(models.c.digest == run.model_digest)).first() is None:
        raise ObjectNotFoundError(
            f"run {run.id} names model {run.model_name} ({run.model_digest[:12]}), which the catalog lacks; register it"
        )


def _check_same(conn: Connection, run: Run, planned: Sequence[PlannedUnit]) -> None:
    head = conn.execute(select(runs.c.scene_id, runs.c.model_digest).where(runs.c.id == run.id)).one()
    keys = conn.execute(select(units.c.index, units.c.key).where(units.c.run_id == run.id)).all()
    same_work = {(index, key) for index, key in keys} == {(unit.index, unit.key) for unit in planned}
    if tuple(head) != (run.scene_id, run.model_digest) or not same_work:
        raise RequestError(f"run {run.id} already exists with other work to do; give the new one another id")


def _state(conn: Connection, run_id: str) -> RunState:
    state = conn.execute(select(runs.c.state).where(runs.c.id == run_id)).scalar_one_or_none()
    if state is None:
        raise ObjectNotFoundError(f"no run {run_id!r} in the catalog")
    return RunState(state)


def _progress(conn: Connection, run_id: str) -> RunProgress:
    _state(conn, run_id)
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


def _check_covered(progress: RunProgress, run_id: str) -> None:
    missing = progress.units - progress.units_done
    if missing:
        raise CoverageError(
            f"run {run_id} cannot be published: {missing} of its {progress.units} units are not done; resume it"
        )
