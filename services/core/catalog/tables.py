"""The catalog's tables. Migrations make them; `test_migrations.py` proves that both agree.

What is searched or joined is a column; the rest of a record is one JSON document.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    false,
)
from sqlalchemy.types import TypeDecorator, TypeEngine

#: The newest migration; a test compares it with the files, so that opening a catalog need not import Alembic.
SCHEMA_REVISION = "0004"

#: Not Alembic's default name: Prefect's server keeps its own `alembic_version`, and may share the database.
VERSION_TABLE = "swath_schema"


class UtcDateTime(TypeDecorator[datetime]):
    """Aware datetimes in and out, always UTC; SQLite forgets the zone, PostgreSQL answers in the session's."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC."""
        del dialect
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Say that it is UTC."""
        del dialect
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Document(TypeDecorator[Any]):
    """JSON text on SQLite, JSONB on PostgreSQL (whose dialect is imported only where it is used: 60 ms)."""

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """JSONB where there is one."""
        if dialect.name == "postgresql":
            from sqlalchemy.dialects.postgresql import JSONB

            return dialect.type_descriptor(JSONB())
        return dialect.type_descriptor(JSON())


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

scenes = Table(
    "scenes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("digest", Text, nullable=False, index=True),
    Column("title", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("record", Document, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index(None, "created_at", "id"),
)

refusals = Table(
    "refusals",
    metadata,
    Column("id", Text, primary_key=True),
    Column("source", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index(None, "created_at", "id"),
)

# One row per package; what becomes of it is told in `model_stages`.
models = Table(
    "models",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("href", Text, nullable=False),
    Column("contract", Document, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index(None, "created_at", "digest"),
    Index(None, "name", "created_at"),
)

# A history: rows are added, never changed. The newest row of a digest is its stage. `step` counts without gaps per
# name, so of two who would follow the same step one is refused: this key is what keeps one production per name.
model_stages = Table(
    "model_stages",
    metadata,
    Column("name", Text, primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("digest", Text, ForeignKey("models.digest"), nullable=False),
    Column("stage", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index(None, "digest", "step"),
)

runs = Table(
    "runs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("scene_id", Text, ForeignKey("scenes.id"), nullable=False, index=True),
    Column("model_name", Text, nullable=False),
    Column("model_digest", Text, ForeignKey("models.digest"), nullable=False, index=True),
    Column("tile_px", Integer, nullable=False),
    Column("backend", Text, nullable=False),
    Column("out", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("command", Text, nullable=False),
    Column("code_version", Text, nullable=False),
    Column("plan", Document, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("error", Text),
    Column("assembler", Text),  # the worker that puts the product together
    Column("assembly_until_s", Double),  # its lease, as in `units`
    Index(None, "created_at", "id"),
)

# What any run may reuse. A unit that is done points here: the foreign key is what makes "done, but nothing to
# show for it" impossible, even when `forget_result` races with a run that has just found the row.
unit_results = Table(
    "unit_results",
    metadata,
    Column("key", Text, primary_key=True),  # the unit's, or with masked tiles a name of its own
    Column("object_key", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("tiles", Integer, nullable=False),
    Column("masked", Integer, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("run_id", Text),  # who computed it; no foreign key, results outlive runs
    Column("created_at", UtcDateTime, nullable=False),
)

units = Table(
    "units",
    metadata,
    Column("run_id", Text, ForeignKey("runs.id"), primary_key=True),
    Column("index", Integer, primary_key=True),
    Column("key", Text, nullable=False),
    Column("row_start", Integer, nullable=False),
    Column("row_stop", Integer, nullable=False),
    Column("tiles", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("reused", Boolean, nullable=False, server_default=false()),
    Column("masked", Integer, nullable=False, server_default="0"),  # copied from the result: counts outlive it
    Column("result_key", Text, ForeignKey("unit_results.key"), index=True),
    Column("worker", Text),  # who holds it, or who did it
    Column("claim", Text),  # token of the claim: finds it again when the answer to a commit was lost
    Column("lease_until_s", Double),  # seconds since 1970 by the database's clock, so that hosts need not agree
    Index(None, "run_id", "state", "index"),
)

products = Table(
    "products",
    metadata,
    Column("run_id", Text, ForeignKey("runs.id"), primary_key=True),
    Column("href", Text, nullable=False),
    Column("manifest_sha256", Text, nullable=False),
    Column("files", Document, nullable=False),
    Column("coverage", Document, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index(None, "created_at", "run_id"),
)

# Keys of the online service; the secret itself is nowhere.
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Column("last_used_at", UtcDateTime),
    Index(None, "created_at", "id"),
)
