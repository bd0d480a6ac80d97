"""Scenes, refusals, models and runs.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_WHEN = sa.DateTime(timezone=True)
_DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "scenes",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("record", _DOCUMENT, nullable=False),
        sa.Column("created_at", _WHEN, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_scenes"),
    )
    op.create_index("ix_scenes_digest", "scenes", ["digest"])
    op.create_index("ix_scenes_created_at_id", "scenes", ["created_at", "id"])
    op.create_table(
        "refusals",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created_at", _WHEN, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_refusals"),
    )
    op.create_index("ix_refusals_created_at_id", "refusals", ["created_at", "id"])
    op.create_table(
        "models",
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("href", sa.Text, nullable=False),
        sa.Column("contract", _DOCUMENT, nullable=False),
        sa.Column("created_at", _WHEN, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_models"),
    )
    op.create_index("ix_models_created_at_digest", "models", ["created_at", "digest"])
    op.create_index("ix_models_name_created_at", "models", ["name", "created_at"])
    _create_runs()


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("scene_id", sa.Text, nullable=False),
        sa.Column("model_name", sa.Text, nullable=False),
        sa.Column("model_digest", sa.Text, nullable=False),
        sa.Column("tile_px", sa.Integer, nullable=False),
        sa.Column("backend", sa.Text, nullable=False),
        sa.Column("out", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("code_version", sa.Text, nullable=False),
        sa.Column("plan", _DOCUMENT, nullable=False),
        sa.Column("created_at", _WHEN, nullable=False),
        sa.Column("finished_at", _WHEN),
        sa.Column("error", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.ForeignKeyConstraint(["scene_id"], ["scenes.id"], name="fk_runs_scene_id"),
        sa.ForeignKeyConstraint(["model_digest"], ["models.digest"], name="fk_runs_model_digest"),
    )
    op.create_index("ix_runs_scene_id", "runs", ["scene_id"])
    op.create_index("ix_runs_model_digest", "runs", ["model_digest"])
    op.create_index("ix_runs_created_at_id", "runs", ["created_at", "id"])
