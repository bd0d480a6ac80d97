"""What the ledger can tell before and during a run: SQL of counts and paces."""

from collections.abc import Sequence

from sqlalchemy import Connection, func, select

from services.core.catalog.tables import runs, unit_results, units
from services.core.records import UnitState

#: Keys looked up in one statement; SQLite allows some tens of thousands of parameters.
KEYS_AT_ONCE = 5000


def count_pending(conn: Connection, run_id: str, indices: range | None) -> int:
    """Units of a run, or of one shard of it, that are not done."""
    query = select(func.count()).where(units.c.run_id == run_id, units.c.state != UnitState.DONE)
    if indices is not None:
        query = query.where(units.c.index >= indices.start, units.c.index < indices.stop)
    return int(conn.execute(query).scalar_one())


def count_results(conn: Connection, keys: Sequence[str]) -> int:
    """How many of these keys have a result to reuse."""
    parts = (keys[start : start + KEYS_AT_ONCE] for start in range(0, len(keys), KEYS_AT_ONCE))
    query = select(func.count()).select_from(unit_results)
    return sum(int(conn.execute(query.where(unit_results.c.key.in_(part))).scalar_one()) for part in parts)


def measure_pace(conn: Connection, model_digest: str, tile_px: int, backend: str) -> float | None:
    """Seconds of one worker per tile in the newest run that computed units so; None: there is none."""
    query = (
        select(func.sum(unit_results.c.seconds), func.sum(unit_results.c.tiles))
        .join(runs, runs.c.id == unit_results.c.run_id)
        .where(runs.c.model_digest == model_digest, runs.c.tile_px == tile_px, runs.c.backend == backend)
        .group_by(runs.c.id, runs.c.created_at)
        .order_by(runs.c.created_at.desc())
        .limit(1)
    )
    row = conn.execute(query).first()
    return None if row is None else float(row[0]) / int(row[1])
