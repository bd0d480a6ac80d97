"""Migrations: up from empty and from every revision, with rows in it, on both databases; and never a step too far."""

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from services.core.catalog import schema, tables
from services.core.catalog.catalog import open_catalog
from services.core.catalog.database import Database, insert_into, parse_url
from services.core.catalog.ledger import Ledger
from services.core.catalog.rows import document
from services.core.catalog.schema import stored_revision, upgrade
from services.core.errors import ConfigError
from tests import catalogs
from tests.postgres import PostgresServer

pytest_plugins = ["tests.postgres"]

VERSIONS = Path(tables.__file__).parent / "migrations" / "versions"
REVISIONS = sorted(path.name[1:5] for path in VERSIONS.glob("r[0-9]*.py"))


def database_at(url: str, revision: str) -> Database:
    """A database of an earlier Swath."""
    address = parse_url(url)
    if address.get_backend_name() == "sqlite":
        Path(address.database or "").parent.mkdir(parents=True, exist_ok=True)
    database = Database(address, patience_s=5)
    database.migrate(lambda conn: upgrade(conn, name="old", target=revision))
    return database


def fill(conn: Connection) -> None:
    """A scene, a model and a run, in the columns that revision has."""
    scene, model, run = catalogs.scene(), catalogs.model(), catalogs.run()
    rows = {
        tables.scenes: document(scene) | {"record": document(scene), "created_at": catalogs.WHEN},
        tables.models: document(model) | {"created_at": catalogs.WHEN},
        tables.runs: document(run) | {"created_at": catalogs.WHEN, "finished_at": None},
    }
    for table, values in rows.items():
        present = {column["name"] for column in inspect(conn).get_columns(table.name)}
        kept = {name: value for name, value in values.items() if name in table.c and name in present}
        conn.execute(insert_into(conn, table).values(kept))


def test_the_code_names_the_newest_revision() -> None:
    assert REVISIONS[-1] == tables.SCHEMA_REVISION
    assert len(REVISIONS) >= 2


@pytest.mark.parametrize("revision", REVISIONS)
def test_rows_of_every_earlier_revision_survive_the_way_up(catalog_url: str, revision: str) -> None:
    old = database_at(catalog_url, revision)
    old.write(fill)
    old.close()

    with open_catalog(catalog_url) as catalog:
        assert catalog.scene("scene-0000") == catalogs.scene()
        assert catalog.run("run-1") == catalogs.run()
        Ledger(catalog).create_run(catalogs.run("run-2"), catalogs.plan(2))
        assert Ledger(catalog).claim_unit("run-2", "worker") == catalogs.plan(2)[0]


@pytest.mark.parametrize(("state", "lost", "pending"), [("published", 1, 0), ("failed", 0, 1)])
def test_results_with_masked_tiles_get_names_of_their_own(
    catalog_url: str, state: str, lost: int, pending: int
) -> None:
    old = database_at(catalog_url, "0003")
    old.write(fill)
    old.write(lambda conn: conn.execute(text("UPDATE runs SET state = :state"), {"state": state}))
    holed, replaced = catalogs.plan(2)
    rows = [(holed, catalogs.result(holed, masked=2), 2), (replaced, catalogs.result(replaced), 1)]
    for unit, result, masked_then in rows:
        row = {**result.model_dump(), "key": unit.key, "run_id": "run-1", "created_at": catalogs.WHEN}
        old.write(lambda conn, row=row: conn.execute(insert_into(conn, tables.unit_results).values(row)))
        row = {**unit.model_dump(), "run_id": "run-1", "state": "done", "masked": masked_then, "result_key": unit.key}
        old.write(lambda conn, row=row: conn.execute(insert_into(conn, tables.units).values(row)))
    old.close()

    with open_catalog(catalog_url) as catalog:
        ledger = Ledger(catalog)
        assert ledger.results("run-1") == [(holed, catalogs.result(holed, masked=2))]
        assert (ledger.lost("run-1"), ledger.pending("run-1")) == (lost, pending)
        assert ledger.create_run(catalogs.run("run-2"), catalogs.plan(2)).units_done == 1


@pytest.mark.parametrize("revision", ["", *REVISIONS])
def test_migrated_tables_are_those_of_the_code(catalog_url: str, revision: str) -> None:
    if revision:
        database_at(catalog_url, revision).close()
    options = {"version_table": tables.VERSION_TABLE, "compare_type": True, "compare_server_default": True}

    with open_catalog(catalog_url) as catalog, catalog.database.engine.connect() as conn:
        difference = compare_metadata(MigrationContext.configure(conn, opts=options), tables.metadata)

    assert difference == []


def test_a_catalog_of_a_newer_swath_is_refused_and_left_alone(catalog_url: str) -> None:
    with open_catalog(catalog_url) as catalog:
        catalog.database.write(lambda conn: conn.execute(text("UPDATE swath_schema SET version_num = '9999'")))

    with pytest.raises(ConfigError, match="made by a newer Swath: it has schema 9999"):
        open_catalog(catalog_url)


def test_looking_does_not_migrate(catalog_url: str) -> None:
    old = database_at(catalog_url, REVISIONS[0])

    with pytest.raises(ConfigError, match=f"has schema {REVISIONS[0]}"):
        open_catalog(catalog_url, create=False)
    assert old.read(stored_revision) == REVISIONS[0]
    old.close()


def test_a_migration_that_fails_leaves_the_catalog_as_it_was(catalog_url: str) -> None:
    old = database_at(catalog_url, REVISIONS[0])
    old.write(lambda conn: conn.execute(text("CREATE TABLE products (in_the_way INTEGER)")))

    with pytest.raises(ConfigError, match="products"):
        open_catalog(catalog_url)
    assert old.read(stored_revision) == REVISIONS[0]
    assert not old.read(lambda conn: inspect(conn).has_table("units"))
    old.close()


def test_prefects_own_version_table_is_not_touched(catalog_url: str) -> None:
    other = database_at(catalog_url, REVISIONS[0])
    other.write(lambda conn: conn.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))")))
    other.write(lambda conn: conn.execute(text("INSERT INTO alembic_version VALUES ('prefect')")))

    open_catalog(catalog_url).close()

    select = text("SELECT version_num FROM alembic_version")
    assert other.read(lambda conn: conn.execute(select).scalar_one()) == "prefect"
    other.close()


def test_four_processes_open_one_empty_database_together(catalog_url: str) -> None:
    spawn = get_context("spawn")
    with spawn.Manager() as manager, ProcessPoolExecutor(4, mp_context=spawn) as pool:
        together = manager.Barrier(4)
        list(pool.map(catalogs.open_together, [catalog_url] * 4, [together] * 4))

    with open_catalog(catalog_url) as catalog:
        assert len(catalog.refusals()) == 4


@pytest.mark.postgres
def test_another_process_that_migrates_is_waited_for_longer_than_for_any_other_answer(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.new_database()
    monkeypatch.setattr("services.core.catalog.patient.PatientConnection.silence_s", 1.0)
    with psycopg.connect(url) as other, ThreadPoolExecutor(1) as pool:
        other.execute("SELECT pg_advisory_lock(%s)", [schema._ADVISORY_LOCK])
        opening = pool.submit(open_catalog, url, patience_s=0.1)
        with pytest.raises(TimeoutError):
            opening.result(timeout=2)
        other.execute("SELECT pg_advisory_unlock(%s)", [schema._ADVISORY_LOCK])
        with opening.result(timeout=60) as catalog:
            assert catalog.database.read(lambda conn: conn.connection.driver_connection.silence_s) == 1.0


def test_foreign_keys_are_checked_after_the_migration(catalog_url: str) -> None:
    with open_catalog(catalog_url) as catalog, catalog.database.engine.connect() as conn:
        if catalog.database.dialect == "sqlite":
            assert conn.execute(text("PRAGMA foreign_keys")).scalar_one() == 1
