"""Results with masked tiles under names of their own, so that a later run's better ones do not take their place.

Revision ID: 0004
Revises: 0003
"""

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_COLUMNS = "object_key, sha256, tiles, masked, seconds, run_id, created_at"


def upgrade() -> None:
    conn = op.get_bind()
    # Their result has been replaced by a whole one: what their run's map was made from is no more.
    conn.execute(
        sa.text(
            "UPDATE units SET result_key = NULL WHERE masked > 0 "
            "AND result_key IN (SELECT key FROM unit_results WHERE masked = 0)"
        )
    )
    # A published run stays so without; any other computes the unit again.
    conn.execute(
        sa.text(
            "UPDATE units SET state = 'pending', reused = false, masked = 0, worker = NULL "
            "WHERE state = 'done' AND result_key IS NULL "
            "AND run_id IN (SELECT id FROM runs WHERE state <> 'published')"
        )
    )
    for key, sha256 in conn.execute(sa.text("SELECT key, sha256 FROM unit_results WHERE masked > 0")).all():
        names = {"old": key, "new": hashlib.sha256(f"{key} {sha256}".encode()).hexdigest()}
        conn.execute(
            sa.text(
                f"INSERT INTO unit_results (key, {_COLUMNS}) SELECT :new, {_COLUMNS} "  # noqa: S608  # our own names
                "FROM unit_results WHERE key = :old"
            ),
            names,
        )
        conn.execute(sa.text("UPDATE units SET result_key = :new WHERE result_key = :old"), names)
        conn.execute(sa.text("DELETE FROM unit_results WHERE key = :old"), names)
