"""The ledger of units, the assembler's lease, and products.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_WHEN = sa.DateTime(timezone=True)
_DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column("runs", sa.Column("assembler", sa.Text))
    op.add_column("runs", sa.Column("assembly_until_s", sa.Double))
    op.create_table(
        "unit_results",
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("object_key", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("tiles", sa.Integer, nullable=False),
        sa.Column("masked", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("run_id", sa.Text),
        sa.Column("created_at", _WHEN, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_unit_results"),
    )
    _create_units()
    op.create_table(
        "products",
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("href", sa.Text, nullable=False),
        sa.Column("manifest_sha256", sa.Text, nullable=False),
        sa.Column("files", _DOCUMENT, nullable=False),
        sa.Column("coverage", _DOCUMENT, nullable=False),
        sa.Column("created_at", _WHEN, nullable=False),
        sa.PrimaryKeyConstraint("run_id", name="pk_products"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_products_run_id"),
    )
    op.create_index("ix_products_created_at_run_id", "products", ["created_at", "run_id"])


def _create_units() -> None:
    op.create_table(
        "units",
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("index", sa.Integer, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("row_start", sa.Integer, nullable=False),
        sa.Column("row_stop", sa.Integer, nullable=False),
        sa.Column("tiles", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reused", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("masked", sa.Integer, nullable=False, server_default="0"),
        sa.Column("result_key", sa.Text),
        sa.Column("worker", sa.Text),
        sa.Column("claim", sa.Text),
        sa.Column("lease_until_s", sa.Double),
        sa.PrimaryKeyConstraint("run_id", "index", name="pk_units"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_units_run_id"),
        sa.ForeignKeyConstraint(["result_key"], ["unit_results.key"], name="fk_units_result_key"),
    )
    op.create_index("ix_units_result_key", "units", ["result_key"])
    op.create_index("ix_units_run_id_state_index", "units", ["run_id", "state", "index"])
