"""Who works on what: SQL of claims and leases. Each function is part of its caller's transaction, repeatable."""

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, exists, or_, select, update

from services.core.catalog.database import EpochNow
from services.core.catalog.tables import runs, unit_results, units
from services.core.records import PlannedUnit, RunState, UnitState

_PLANNED = [units.c[name] for name in PlannedUnit.model_fields]

_PENDING = units.c.state == UnitState.PENDING
_LAPSED = and_(units.c.state == UnitState.CLAIMED, units.c.lease_until_s < EpochNow())

#: A unit that is claimable, but whose result is already there: `reuse_finished` settles it.
Reusable = Literal["reusable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A worker's wish for one unit."""

    run_id: str
    worker: str
    token: str  #: new for each wish, kept when it is repeated
    lease_s: float
    indices: range | None  #: only these units; None: any


def claim_next(conn: Connection, claim: Claim) -> PlannedUnit | Reusable | None:
    """Claim the lowest unit that is pending, else the lowest whose lease is over.

    The token finds the claim of a commit whose answer was lost: without it, the worker would keep renewing the
    lease of a unit that it does not know it has.
    """
    mine = and_(units.c.run_id == claim.run_id, units.c.state == UnitState.CLAIMED, units.c.claim == claim.token)
    held = conn.execute(select(*_PLANNED).where(mine)).mappings().first()
    if held is not None:
        return planned_unit(held)
    candidate = _pick(conn, claim, _PENDING) or _pick(conn, claim, _LAPSED)
    if candidate is None:
        return None
    if candidate["finished"]:
        return "reusable"
    conn.execute(
        update(units)
        .where(units.c.run_id == claim.run_id, units.c.index == candidate["index"])
        .values(
            state=UnitState.CLAIMED,
            worker=claim.worker,
            claim=claim.token,
            lease_until_s=EpochNow() + claim.lease_s,
        )
    )
    return planned_unit(candidate)


def reuse_finished(conn: Connection, run_id: str) -> int:
    """Mark every free unit whose result exists as done and reused; returns how many."""
    whole = select(unit_results.c.key)  # results with masked tiles have other names, see `unit_result_key`
    return conn.execute(
        update(units)
        .where(units.c.run_id == run_id, or_(_PENDING, _LAPSED), units.c.key.in_(whole))
        .values(
            state=UnitState.DONE,
            reused=True,
            result_key=units.c.key,
            masked=0,
            worker=None,
            claim=None,
            lease_until_s=None,
        )
    ).rowcount


def renew_claims(conn: Connection, run_id: str, worker: str, lease_s: float) -> int:
    """Prolong every lease of the worker in the run, the assembly's included; returns how many."""
    until = EpochNow() + lease_s
    renewed = conn.execute(update(units).where(_held_by(run_id, worker)).values(lease_until_s=until)).rowcount
    assembling = and_(runs.c.id == run_id, runs.c.assembler == worker)
    return renewed + conn.execute(update(runs).where(assembling).values(assembly_until_s=until)).rowcount


def release_claims(conn: Connection, run_id: str, worker: str) -> int:
    """Give back everything the worker holds in the run; returns how many units."""
    conn.execute(
        update(runs)
        .where(runs.c.id == run_id, runs.c.assembler == worker)
        .values(assembler=None, assembly_until_s=None)
    )
    return conn.execute(
        update(units)
        .where(_held_by(run_id, worker))
        .values(state=UnitState.PENDING, worker=None, claim=None, lease_until_s=None)
    ).rowcount


def list_holders(conn: Connection, run_id: str) -> set[str]:
    """Workers that hold a unit of the run, or its assembly."""
    held = select(units.c.worker).where(units.c.run_id == run_id, units.c.state == UnitState.CLAIMED)
    assembling = select(runs.c.assembler).where(runs.c.id == run_id)
    return {worker for worker in conn.execute(held.union(assembling)).scalars() if worker is not None}


def claim_run(conn: Connection, run_id: str, worker: str, lease_s: float) -> bool:
    """Claim the assembly of a run that is not published; True as well where the worker already has it."""
    free = or_(runs.c.assembler.is_(None), runs.c.assembler == worker, runs.c.assembly_until_s < EpochNow())
    claimed = conn.execute(
        update(runs)
        .where(runs.c.id == run_id, runs.c.state != RunState.PUBLISHED, free)
        .values(assembler=worker, assembly_until_s=EpochNow() + lease_s)
    )
    return claimed.rowcount == 1


def planned_unit(row: RowMapping) -> PlannedUnit:
    """The unit of a row that has its columns."""
    return PlannedUnit.model_validate({name: row[name] for name in PlannedUnit.model_fields})


def _pick(conn: Connection, claim: Claim, condition: ColumnElement[bool]) -> RowMapping | None:
    """The lowest such unit. One condition at a time is one walk down an index; with OR, each claim sorts them all."""
    finished = exists().where(unit_results.c.key == units.c.key).label("finished")
    return (
        conn.execute(
            select(*_PLANNED, finished)
            .where(units.c.run_id == claim.run_id, condition, *_within(claim.indices))
            .order_by(units.c.index)
            .limit(1)
            .with_for_update(of=units, skip_locked=True)  # SQLite ignores it: BEGIN IMMEDIATE already excludes others
        )
        .mappings()
        .first()
    )


def _held_by(run_id: str, worker: str) -> ColumnElement[bool]:
    return and_(units.c.run_id == run_id, units.c.state == UnitState.CLAIMED, units.c.worker == worker)


def _within(indices: range | None) -> list[ColumnElement[bool]]:
    if indices is None:
        return []
    return [units.c.index >= indices.start, units.c.index < indices.stop]
