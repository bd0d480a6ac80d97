"""What `swath doctor` asks of the database."""

import time

from sqlalchemy import Connection, text

from services.core.catalog.database import Database
from services.core.catalog.tables import SCHEMA_REVISION, VERSION_TABLE
from services.core.findings import Finding

_SLOW_MS = 50.0
_OLDEST_POSTGRES = 140_000
_CROWDED = 0.8


def check_database(database: Database) -> list[Finding]:
    """Facts: version, latency, whether it can be written, and what is particular to each database.

    Raises:
        DatabaseUnavailableError: It does not answer.
        ConfigError: It cannot be written.
    """
    database.write(_try_write)
    findings = [
        Finding(name="catalog", ok=True, detail=f"{database.name}, schema {SCHEMA_REVISION}, writable"),
        database.read(_latency),
    ]
    if database.dialect == "sqlite":
        return findings + database.read(_check_sqlite)
    return findings + database.read(_check_postgres)


def _try_write(conn: Connection) -> None:
    conn.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = version_num"))  # noqa: S608


def _latency(conn: Connection) -> Finding:
    start = time.perf_counter()
    conn.execute(text("SELECT 1"))
    took_ms = (time.perf_counter() - start) * 1e3
    advice = None if took_ms < _SLOW_MS else "run workers nearer to the database"
    return Finding(name="catalog latency", ok=advice is None, detail=f"{took_ms:.1f} ms", advice=advice)


def _check_sqlite(conn: Connection) -> list[Finding]:
    version = conn.execute(text("SELECT sqlite_version()")).scalar_one()
    mode = conn.execute(text("PRAGMA journal_mode")).scalar_one()
    wal = mode == "wal"
    return [
        Finding(name="catalog version", ok=True, detail=f"SQLite {version}"),
        Finding(
            name="catalog journal",
            ok=wal,
            detail=f"journal mode {mode}",
            advice=None if wal else "keep the catalog on a local disk: a network folder cannot do write-ahead logging",
        ),
    ]


def _check_postgres(conn: Connection) -> list[Finding]:
    number = int(conn.execute(text("SHOW server_version_num")).scalar_one())
    recent = number >= _OLDEST_POSTGRES
    used, limit, encrypted = conn.execute(
        text(
            "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),"
            " current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,"
            " coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)"
        )
    ).one()
    free = used < limit * _CROWDED
    return [
        Finding(
            name="catalog version",
            ok=recent,
            detail=f"PostgreSQL {number // 10_000}.{number % 10_000}",
            advice=None if recent else "use PostgreSQL 14 or newer",
        ),
        Finding(
            name="catalog connections",
            ok=free,
            detail=f"{used} of {limit} in use",
            advice=None if free else "raise max_connections, or put PgBouncer before the server",
        ),
        Finding(name="catalog encryption", ok=True, detail="TLS" if encrypted else "none on this connection"),
    ]
