"""One engine for both databases: addresses, connections, transactions that repeat, and errors in our words."""

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import Double

from services.core.catalog.faults import explain
from services.core.errors import ConfigError

T = TypeVar("T")

_EXAMPLES = "write sqlite:////folder/swath.db or postgresql://user@host/database"
_SQLITE_BUSY_MS = 30_000
_LONGEST_PAUSE_S = 2.0

#: libpq's own options; an address may override each. Without keepalives a vanished server is noticed after 2 hours.
_LIBPQ: dict[str, Any] = {
    "application_name": "swath",
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}

#: SET, not start-up options: PgBouncer refuses those.
_POSTGRES_LIMITS = (
    "SET statement_timeout = '60s'",
    "SET lock_timeout = '15s'",
    "SET idle_in_transaction_session_timeout = '60s'",
)


class EpochNow(FunctionElement[float]):
    """Seconds since 1970 by the database's own clock, so that workers on several hosts need not agree."""

    type = Double()
    inherit_cache = True


@compiles(EpochNow, "postgresql")
def _epoch_now_postgresql(element: EpochNow, compiler: Any, **options: Any) -> str:
    del element, compiler, options
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


@compiles(EpochNow, "sqlite")
def _epoch_now_sqlite(element: EpochNow, compiler: Any, **options: Any) -> str:
    del element, compiler, options
    return "((julianday('now') - 2440587.5) * 86400.0)"


class Database:
    """Transactions on one database; safe to share between threads, not between processes."""

    def __init__(self, url: URL, *, patience_s: float) -> None:
        """Connects on first use.

        Args:
            url: From `parse_url`.
            patience_s: How long a transaction is repeated while the database is away or busy.
        """
        self.engine = _build_engine(url)
        self._writer = self.engine.execution_options(sqlite_begin="BEGIN IMMEDIATE")
        self._migrator = self._writer.execution_options(sqlite_foreign_keys=False)
        self._patience_s = patience_s

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self.engine.dialect.name

    @property
    def name(self) -> str:
        """The address without password or options, for messages."""
        return describe(self.engine.url)

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction that changes nothing; repeated like `write`."""
        return self._repeat(self.engine, work)

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction, and again after a passing failure, so it must bear being repeated.

        Even a commit whose answer was lost is repeated: `work` then meets its own rows.

        Raises:
            DatabaseUnavailableError: Away or busy for longer than the patience.
            StorageUnavailableError: Its disk is full.
            ConfigError: Address, login, rights or file are wrong.
        """
        return self._repeat(self._writer, work)

    def migrate(self, work: Callable[[Connection], T]) -> T:
        """Like `write`, but SQLite lets `work` replace tables that others point at (https://sqlite.org/lang_altertable.html)."""
        try:
            return self._repeat(self._migrator, work)
        finally:
            self.engine.dispose()  # the next connection checks foreign keys again

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    def _repeat(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        deadline = time.monotonic() + self._patience_s
        pause_s = 0.05
        while True:
            try:
                with engine.begin() as conn:
                    return work(conn)
            except SQLAlchemyError as exc:
                fault = explain(exc)
                if fault is None:
                    raise
                if not fault.transient or time.monotonic() + pause_s > deadline:
                    raise fault.error(f"catalog {self.name} {fault.reason}") from exc
            time.sleep(random.uniform(pause_s / 2, pause_s))  # noqa: S311  # jitter, not a secret
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


def parse_url(text: str) -> URL:
    """An address of SQLite or PostgreSQL with its driver; SQLite's path made absolute.

    Raises:
        ConfigError: Not an address, or of a database Swath does not work with.
    """
    try:
        url = make_url(text)
        backend = url.get_backend_name()
    except (ArgumentError, ValueError):
        # `from None`: what failed to parse may be a password.
        raise ConfigError(f"the catalog's address is not one; {_EXAMPLES}") from None
    if "@" in (url.host or "") or (backend != "sqlite" and "@" in (url.database or "")):
        raise ConfigError("the password in the catalog's address holds an @ or a slash; write %40 and %2F") from None
    if backend in {"postgresql", "postgres"} and url.drivername in {backend, "postgresql+psycopg"}:
        return url.set(drivername="postgresql+psycopg")
    if url.drivername not in {"sqlite", "sqlite+pysqlite"}:
        raise ConfigError(f"the catalog cannot be kept in {url.drivername}; {_EXAMPLES}")
    name = url.database or ""
    if name in {"", ":memory:"} or name.startswith("file:"):
        raise ConfigError(f"the catalog must be a file that other processes can open; {_EXAMPLES}")
    return url.set(database=str(Path(name).absolute()))


def describe(url: URL) -> str:
    """The address for messages: no password, and no options, which may hold one."""
    return url.set(query={}).render_as_string(hide_password=True)


def insert_into(conn: Connection, table: Table) -> Any:
    """An INSERT of this database's dialect, which knows ON CONFLICT."""
    if conn.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)


def _build_engine(url: URL) -> Engine:
    try:
        if url.get_backend_name() == "sqlite":
            engine = create_engine(url, hide_parameters=True)
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
            return engine
        engine = create_engine(
            url,
            hide_parameters=True,  # rows may hold signed addresses; errors must not
            pool_size=2,  # a worker needs one for its units and one for its heartbeat
            max_overflow=8,
            pool_recycle=1800,
            pool_pre_ping=True,
            # Prepared statements do not survive a pooler that hands out another server connection.
            connect_args={key: value for key, value in _LIBPQ.items() if key not in url.query}
            | {"prepare_threshold": None},
        )
    except (NoSuchModuleError, ImportError, ArgumentError) as exc:
        raise ConfigError(f"catalog {describe(url)} cannot be used here: its driver or address is wrong") from exc
    event.listen(engine, "do_connect", _connect_postgres)
    event.listen(engine, "connect", _prepare_postgres)
    return engine


def _prepare_sqlite(dbapi_connection: Any, record: object) -> None:
    del record
    dbapi_connection.isolation_level = None  # we say BEGIN ourselves: the driver's own never takes the write lock
    for pragma in (
        f"busy_timeout = {_SQLITE_BUSY_MS}",
        "journal_mode = WAL",  # readers and the writer do not wait for each other
        "synchronous = NORMAL",  # a power cut may lose the last commits, never the file; units are found again
        "foreign_keys = ON",
    ):
        dbapi_connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(conn: Connection) -> None:
    options = conn.get_execution_options()
    if not options.get("sqlite_foreign_keys", True):
        conn.exec_driver_sql("PRAGMA foreign_keys = OFF")
    conn.exec_driver_sql(options.get("sqlite_begin", "BEGIN"))


def _connect_postgres(dialect: object, record: object, args: list[Any], options: dict[str, Any]) -> Any:
    from services.core.catalog.patient import PatientConnection

    del dialect, record
    return PatientConnection.connect(*args, **options)


def _prepare_postgres(dbapi_connection: Any, record: object) -> None:
    del record
    for statement in _POSTGRES_LIMITS:
        dbapi_connection.execute(statement)
    dbapi_connection.commit()
