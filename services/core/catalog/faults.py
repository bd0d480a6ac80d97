"""What a database error means for the caller: one table per driver, read by code, and by text only where none came."""

from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from services.core.errors import ConfigError, DatabaseUnavailableError, StorageUnavailableError, SwathError


@dataclass(frozen=True, slots=True)
class Fault:
    """A database error in our words."""

    error: type[SwathError]
    reason: str  #: ends a sentence that begins with the catalog's address
    transient: bool = False  #: the same transaction may be tried again at once


_AWAY = Fault(DatabaseUnavailableError, "does not answer; is the server up, and its address right?", transient=True)
_BUSY = Fault(
    DatabaseUnavailableError, "is locked by another process; try again when that has finished", transient=True
)
_SLOW = Fault(DatabaseUnavailableError, "took too long to answer and the statement was cancelled", transient=True)
_FULL = Fault(StorageUnavailableError, "has no space left on its disk; free some and try again")
_CROWDED = Fault(
    DatabaseUnavailableError,
    "has no connection left for this user; raise its limit or run fewer workers",
    transient=True,
)
_CLOSED = Fault(
    DatabaseUnavailableError, "takes no connections now; its owner has closed it (ALLOW_CONNECTIONS)", transient=True
)
_UNWRITABLE = Fault(
    DatabaseUnavailableError,
    "is read-only; point the address at the primary server, and look at default_transaction_read_only",
    transient=True,
)
_COLLIDED = Fault(DatabaseUnavailableError, "is too contended: transactions keep colliding", transient=True)
_SERVER_IO = Fault(StorageUnavailableError, "cannot read or write its files; look at its disk")
_LOGIN = Fault(ConfigError, "refuses this user or password; check them, and pg_hba.conf")
_NO_DATABASE = Fault(ConfigError, "does not exist on its server; create it, or correct the address")
_NO_SCHEMA = Fault(ConfigError, "has no schema to keep tables in; look at the search_path of this user and database")
_NO_RIGHT = Fault(ConfigError, "does not give this user the rights it needs; the user must own the database")
_NO_TABLE = Fault(ConfigError, "lacks a table or column of this version; somebody changed it by hand")
_OPTION = Fault(ConfigError, "has an option in its address that the driver does not know")
_TLS = Fault(ConfigError, "fails the TLS check; look at sslmode and sslrootcert in its address")
_CANNOT_OPEN = Fault(ConfigError, "cannot be opened; check that its folder exists and can be written")
_READ_ONLY = Fault(ConfigError, "cannot be written; check the permissions of the file and its folder")
_NOT_SQLITE = Fault(ConfigError, "is not an SQLite database, or is damaged; restore it, or name another file")

#: By SQLITE_* name without its extended part.
_SQLITE = {
    "SQLITE_BUSY": _BUSY,
    "SQLITE_LOCKED": _BUSY,
    "SQLITE_PROTOCOL": _BUSY,
    "SQLITE_FULL": _FULL,
    "SQLITE_IOERR": _SERVER_IO,
    "SQLITE_CANTOPEN": _CANNOT_OPEN,
    "SQLITE_READONLY": _READ_ONLY,
    "SQLITE_PERM": _READ_ONLY,
    "SQLITE_NOTADB": _NOT_SQLITE,
    "SQLITE_CORRUPT": _NOT_SQLITE,
}

#: By SQLSTATE, else by its class (the first two characters).
#: https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRES = {
    "08": _AWAY,
    "57": _AWAY,  # admin shutdown, crash shutdown, cannot connect now
    "57014": _SLOW,
    "53": _AWAY,
    "53100": _FULL,
    "53300": _CROWDED,
    "40": _COLLIDED,  # serialization failure, deadlock
    "55P03": _BUSY,
    "25006": _UNWRITABLE,
    "25P03": _SLOW,  # idle in transaction
    "58": _SERVER_IO,
    "28": _LOGIN,
    "3D000": _NO_DATABASE,
    "3F000": _NO_SCHEMA,
    "42501": _NO_RIGHT,
    "42P01": _NO_TABLE,
    "42703": _NO_TABLE,
    # A result was forgotten in the instant between finding and using it: look again.
    "23503": Fault(ConfigError, "has rows that point at nothing; somebody changed it by hand", transient=True),
}

#: A failed connection carries no SQLSTATE, only libpq's text; the first that fits counts.
_LIBPQ = (
    ("password authentication failed", _LOGIN),
    ("no password supplied", _LOGIN),
    ("no pg_hba.conf entry", _LOGIN),
    ("authentication failed", _LOGIN),
    ("is not permitted to log in", _LOGIN),
    ("too many clients", _CROWDED),
    ("too many connections", _CROWDED),
    ("remaining connection slots", _CROWDED),
    ("not currently accepting connections", _CLOSED),
    ('role "', _LOGIN),  # does not exist
    ("permission denied for database", _NO_RIGHT),
    ('database "', _NO_DATABASE),  # does not exist
    ("certificate", _TLS),
    ("does not support ssl", _TLS),
    ("sslmode", _TLS),
    ("invalid connection option", _OPTION),
    ("invalid port", _OPTION),
    ("invalid integer value", _OPTION),
)


def explain(exc: SQLAlchemyError) -> Fault | None:
    """What an error means; None: nothing we know, so a bug of ours that must not be dressed up."""
    if isinstance(exc, PoolTimeoutError):
        return Fault(DatabaseUnavailableError, "was kept busy by this process: every connection is in use")
    if not isinstance(exc, DBAPIError):
        return None
    sqlite_name = getattr(exc.orig, "sqlite_errorname", None)
    if sqlite_name is not None:
        lacks = str(exc.orig).startswith(("no such table", "no such column"))  # SQLite has no code for it
        return _NO_TABLE if lacks else _SQLITE.get("_".join(sqlite_name.split("_")[:2]))
    sqlstate = getattr(exc.orig, "sqlstate", None)
    if sqlstate is not None:
        return _POSTGRES.get(sqlstate) or _POSTGRES.get(sqlstate[:2])
    return _explain_libpq(exc)


def _explain_libpq(exc: DBAPIError) -> Fault | None:
    text = str(exc.orig).lower()
    for words, fault in _LIBPQ:
        if words in text:
            return fault
    away = exc.connection_invalidated or type(exc.orig).__name__ in {"OperationalError", "ConnectionTimeout"}
    return _AWAY if away else None
