"""Brings a database to the tables this code knows; Alembic is imported only when there is something to do."""

from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError

from services.core.catalog.database import Database
from services.core.catalog.tables import SCHEMA_REVISION, VERSION_TABLE
from services.core.errors import ConfigError

#: Any number, the same in every process: whoever holds it migrates. https://www.postgresql.org/docs/current/explicit-locking.html
_ADVISORY_LOCK = 0x5A7A57A7
#: For one statement of a migration, or for another process that migrates.
_MIGRATION_S = 15 * 60


def stored_revision(conn: Connection) -> str | None:
    """The revision the database says it has; None: it holds no catalog."""
    if not inspect(conn).has_table(VERSION_TABLE):
        return None
    return conn.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one_or_none()  # noqa: S608


def ensure_schema(database: Database, *, create: bool) -> None:
    """Migrate to this code's revision, once, however many processes start together.

    Args:
        database: An open database.
        create: False: look, but change nothing.

    Raises:
        ConfigError: The catalog is newer than this code; or absent or older, and
            `create` is False; or something is in the migration's way.
    """
    if database.dialect == "sqlite":
        _ensure_folder(Path(database.engine.url.database or ""), database.name, create=create)
    stored = database.read(stored_revision)
    if stored == SCHEMA_REVISION:
        return
    if not create:
        found = "holds no catalog yet" if stored is None else f"has schema {stored}, not {SCHEMA_REVISION}"
        raise ConfigError(f"{database.name} {found}; any command that writes brings it up to date")
    try:
        database.migrate(lambda conn: upgrade(conn, name=database.name))
    except DBAPIError as exc:  # not one of the faults we know: something is in the way
        raise ConfigError(
            f"catalog {database.name} cannot be brought to schema {SCHEMA_REVISION} and was left as it is: {exc.orig}"
        ) from exc


def upgrade(conn: Connection, *, name: str, target: str = SCHEMA_REVISION) -> None:
    """Run the missing migrations in `conn`'s transaction; the second process to come finds nothing to do.

    Raises:
        ConfigError: The database has a revision this code does not know.
    """
    if conn.dialect.name == "postgresql":  # SQLite's lock is BEGIN IMMEDIATE
        from services.core.catalog.patient import PatientConnection

        driver = conn.connection.driver_connection
        assert isinstance(driver, PatientConnection), "made by database.py"
        driver.silence_s = _MIGRATION_S + 15  # to its end: `Database.migrate` keeps no connection
        conn.execute(text("SET LOCAL lock_timeout = 0"))
        conn.execute(text(f"SET LOCAL statement_timeout = '{_MIGRATION_S}s'"))
        conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    stored = stored_revision(conn)
    if stored == target:
        return
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config(attributes={"connection": conn})
    config.set_main_option("script_location", "services.core.catalog:migrations")
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if stored is not None and stored not in known:
        raise ConfigError(
            f"catalog {name} was made by a newer Swath: it has schema {stored}, and this one knows up to "
            f"{SCHEMA_REVISION}; update Swath here, or name another catalog"
        )
    command.upgrade(config, target)


def _ensure_folder(path: Path, name: str, *, create: bool) -> None:
    if not create:
        if not path.is_file():
            raise ConfigError(f"there is no catalog at {name}; any command that writes makes it")
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigError(f"cannot make the folder {path.parent} for the catalog: {exc.strerror}") from exc
