"""The ledger of runs: units planned, claimed, done, and by whom. Rows only: the caller writes objects first."""

import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection, delete, update

from services.core.catalog import claims, figures, outcomes, run_rows
from services.core.catalog.catalog import Catalog
from services.core.catalog.rows import clean
from services.core.catalog.tables import products, runs
from services.core.errors import RequestError
from services.core.records import PlannedUnit, Run, RunProgress, RunState, UnitResult


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

        Units of a run under way that are done and have no result, as schema 0004 left some, are pending again.

        Raises:
            ObjectNotFoundError: The catalog knows no such scene or model.
            RequestError: No units, two with one index, or a run of this id with other work to do.
        """
        if not units or len({unit.index for unit in units}) != len(units):
            raise RequestError(f"run {run.id} needs units, each with an index of its own")

        def work(conn: Connection) -> RunProgress:
            run_rows.check_references(conn, run)
            if not run_rows.insert_run(conn, run, units):
                run_rows.check_same_work(conn, run, units)
                if run_rows.read_state(conn, run.id) is not RunState.PUBLISHED:
                    outcomes.await_lost(conn, run.id)
            claims.reuse_finished(conn, run.id)
            return run_rows.count_progress(conn, run.id)

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
        return self._database.read(lambda conn: run_rows.count_progress(conn, run_id))

    def pending(self, run_id: str, *, indices: range | None = None) -> int:
        """Units that are not done, in the whole run or in one shard of it."""
        return self._database.read(lambda conn: figures.count_pending(conn, run_id, indices))

    def lost(self, run_id: str) -> int:
        """Done units that have no result any more: as a rule, their object was lost after the run was published."""
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
        return self._database.read(lambda conn: run_rows.read_state(conn, run_id))

    def set_state(self, run_id: str, state: RunState, error: str | None = None) -> RunState:
        """Move a run on; returns the state it is in now, for a published run stays published.

        Raises:
            ObjectNotFoundError: No such run.
            CoverageError: To be published, but some unit is not done.
        """
        ended = state in {RunState.PUBLISHED, RunState.FAILED}

        def work(conn: Connection) -> RunState:
            if run_rows.read_state(conn, run_id) is RunState.PUBLISHED:
                return RunState.PUBLISHED
            if state is RunState.PUBLISHED:
                run_rows.check_covered(run_rows.count_progress(conn, run_id), run_id)
            conn.execute(
                update(runs)
                .where(runs.c.id == run_id, runs.c.state != RunState.PUBLISHED)
                .values(
                    state=state,
                    error=None if error is None else clean(error),
                    finished_at=datetime.now(UTC) if ended else None,
                )
            )
            return run_rows.read_state(conn, run_id)

        return self._database.write(work)

    def reopen(self, run_id: str, reason: str) -> None:
        """Take back that a run was published, for what it left is damaged; its lost units are pending again.

        Raises:
            ObjectNotFoundError: No such run.
        """

        def work(conn: Connection) -> None:
            published = run_rows.read_state(conn, run_id) is RunState.PUBLISHED
            # Whoever made the product may have died before it could say that the run is published.
            made = conn.execute(delete(products).where(products.c.run_id == run_id)).rowcount
            if not (published or made):
                return
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
            run_rows.read_state(conn, run_id)
            return claims.claim_run(conn, run_id, worker, self._lease_s)

        return self._database.write(work)
