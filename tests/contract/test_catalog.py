"""The catalog on SQLite and on PostgreSQL: records come back as they were, and every fault is one clear sentence."""

import math
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from services.core.catalog.catalog import Catalog, open_catalog
from services.core.catalog.ledger import Ledger
from services.core.errors import (
    ConfigError,
    DatabaseUnavailableError,
    ObjectNotFoundError,
    RequestError,
    StorageUnavailableError,
)
from services.core.records import Band, RunState
from tests import catalogs
from tests.postgres import PASSWORD, PostgresServer

pytest_plugins = ["tests.postgres"]


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[Catalog]:
    with open_catalog(catalog_url) as opened:
        yield opened


def test_records_come_back_as_they_were(catalog: Catalog) -> None:
    catalogs.seeded(catalog)
    Ledger(catalog).create_run(catalogs.run(), catalogs.plan(1))
    catalog.add_product(catalogs.product())

    assert catalog.scene("scene-0000") == catalogs.scene()
    assert catalog.model("mean-intensity") == catalogs.model()
    assert catalog.run("run-1") == catalogs.run()
    assert catalog.product("run-1") == catalogs.product()


def test_nodata_that_is_not_a_number_survives(catalog: Catalog) -> None:
    band = Band(name="red", asset=0, bidx=1, dtype="float32", nodata=math.nan)

    catalog.add_scene(catalogs.scene(bands=(band,)))

    assert math.isnan(catalog.scene("scene-0000").bands[0].nodata or 0)


def test_times_are_utc_whatever_zone_they_came_in(catalog: Catalog) -> None:
    zone = catalogs.WHEN.astimezone().tzinfo
    catalog.add_model(catalogs.model(created_at=catalogs.WHEN.astimezone(zone)))

    found = catalog.model("mean-intensity").created_at

    assert found == catalogs.WHEN
    assert found.utcoffset() == timedelta(0)


def test_a_scene_is_registered_once_and_keeps_its_newest_place(catalog: Catalog) -> None:
    catalog.add_scene(catalogs.scene())
    catalog.add_scene(catalogs.scene(source="/moved/0.tif"))

    assert [scene.source for scene in catalog.scenes()] == ["/moved/0.tif"]


def test_an_id_taken_by_other_pixels_is_refused(catalog: Catalog) -> None:
    catalog.add_scene(catalogs.scene())

    with pytest.raises(RequestError, match="other pixels"):
        catalog.add_scene(catalogs.scene(digest="f" * 64))
    assert catalog.scene("scene-0000") == catalogs.scene()


def test_a_name_that_is_not_unicode_is_refused_as_a_scene_but_kept_as_a_refusal(catalog: Catalog) -> None:
    name = os.fsdecode(b"/scenes/caf\xe9.tif")

    with pytest.raises(RequestError, match="not UTF-8"):
        catalog.add_scene(catalogs.scene(source=name))
    with pytest.raises(RequestError, match="NUL"):
        catalog.add_scene(catalogs.scene(source="a\x00b"))
    catalog.add_refusal(name, "damaged\x00")
    assert [(kept.source, kept.reason) for kept in catalog.refusals()] == [("/scenes/caf\\udce9.tif", "damaged\ufffd")]


def test_a_unique_beginning_of_an_id_is_enough(catalog: Catalog) -> None:
    for number in (1, 12, 13):
        catalog.add_scene(catalogs.scene(number))

    assert catalog.scene("scene-0001").id == "scene-0001"
    assert catalog.scene("scene-0012"[:10]).id == "scene-0012"
    with pytest.raises(RequestError, match="scene-0012, scene-0013"):
        catalog.scene("scene-001")


@pytest.mark.parametrize("wanted", ["SCENE-0000", "scene_0", "%", "", "x\x00", "\udce9", "' OR 1=1 --"])
def test_what_is_not_there_is_not_found_and_the_message_names_what_is(catalog: Catalog, wanted: str) -> None:
    catalog.add_scene(catalogs.scene())

    with pytest.raises(ObjectNotFoundError, match="the newest are scene-0000"):
        catalog.scene(wanted)


def test_an_empty_catalog_says_so(catalog: Catalog) -> None:
    with pytest.raises(ObjectNotFoundError, match="there is none yet"):
        catalog.model("anything")
    with pytest.raises(ObjectNotFoundError, match="run-9"):
        catalog.product("run-9")
    with pytest.raises(ObjectNotFoundError, match="run-1"):
        catalog.add_product(catalogs.product())


def test_pages_hold_every_scene_once_newest_first_while_new_ones_come(catalog: Catalog) -> None:
    for number in range(7):
        catalog.add_scene(catalogs.scene(number))
    seen, after = [], None
    while page := catalog.scenes(limit=3, after=after):
        seen += [scene.id for scene in page]
        after = seen[-1]
        catalog.add_scene(catalogs.scene(100 + len(seen)))

    assert seen == [f"scene-{number:04d}" for number in reversed(range(7))]


def test_pages_of_equal_times_hold_every_model_once(catalog: Catalog) -> None:
    digests = [f"{number:064x}" for number in range(5)]
    for digest in digests:
        catalog.add_model(catalogs.model(digest))

    first = catalog.models(limit=2)
    rest = catalog.models(limit=10, after=first[-1].digest)

    assert [model.digest for model in first + rest] == sorted(digests, reverse=True)


def test_a_page_that_makes_no_sense_is_refused(catalog: Catalog) -> None:
    with pytest.raises(RequestError, match="page of 0"):
        catalog.scenes(limit=0)
    with pytest.raises(ObjectNotFoundError, match="no page after 'gone'"):
        catalog.runs(after="gone")


def test_a_model_is_found_by_name_newest_first_or_by_digest(catalog: Catalog) -> None:
    catalog.add_model(catalogs.model("a" * 64))
    catalog.add_model(catalogs.model("b" * 64, created_at=catalogs.WHEN + timedelta(days=1)))
    catalog.add_model(catalogs.model("a" * 64, href="/moved"))

    assert catalog.model("mean-intensity").digest == "b" * 64
    assert catalog.model("aaaa").href == "/moved"


def test_runs_are_filtered_by_scene_and_state(catalog: Catalog) -> None:
    ledger = Ledger(catalogs.seeded(catalog))
    catalog.add_scene(catalogs.scene(1))
    ledger.create_run(catalogs.run("run-1"), catalogs.plan(1))
    ledger.create_run(catalogs.run("run-2", scene_id="scene-0001"), catalogs.plan(1))
    ledger.set_state("run-2", RunState.FAILED, "the disk\x00 is full")

    assert [run.id for run in catalog.runs(scene_id="scene-0000")] == ["run-1"]
    assert [run.error for run in catalog.runs(state=RunState.FAILED)] == ["the disk\ufffd is full"]


def test_doctor_finds_a_healthy_catalog_healthy(catalog: Catalog) -> None:
    findings = {finding.name: finding for finding in catalog.check()}

    assert {"catalog", "catalog version", "catalog latency"} <= findings.keys()
    assert all(finding.ok for name, finding in findings.items() if name != "catalog latency")
    assert PASSWORD not in str(findings)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "is not one"),
        ("swath.db", "is not one"),
        ("postgresql://u:sec:ret@host:port/db", "is not one"),
        ("postgresql://u:sec@ret@host/db", "%40"),
        ("mysql://u:secret@host/db", "cannot be kept in mysql"),
        ("postgresql+asyncpg://u:secret@host/db", "cannot be kept in postgresql"),
        ("nonsense://u:secret@host/db", "cannot be kept in nonsense"),
        ("sqlite://", "must be a file"),
        ("sqlite:///:memory:", "must be a file"),
    ],
)
def test_an_address_that_cannot_work_is_a_config_error_without_its_password(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        open_catalog(url)
    assert "sec" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_looking_at_a_catalog_that_is_not_there_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no catalog"):
        open_catalog(f"sqlite:///{tmp_path / 'sub' / 'swath.db'}", create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_a_config_error(tmp_path: Path) -> None:
    path = tmp_path / "swath.db"
    path.write_bytes(b"not a database at all, but long enough to look like one" * 40)

    with pytest.raises(ConfigError, match="is not an SQLite database"):
        open_catalog(f"sqlite:///{path}")


def test_a_path_that_cannot_be_a_file_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match="cannot make the folder"):
        open_catalog(f"sqlite:///{tmp_path / 'file' / 'swath.db'}")
    with pytest.raises(ConfigError, match="cannot be opened"):
        open_catalog(f"sqlite:///{tmp_path}")


def test_a_damaged_catalog_is_a_config_error(tmp_path: Path) -> None:
    path = tmp_path / "swath.db"
    open_catalog(f"sqlite:///{path}").close()
    path.write_bytes(path.read_bytes()[:4096] + os.urandom(path.stat().st_size - 4096))

    with pytest.raises(ConfigError, match="damaged"):
        open_catalog(f"sqlite:///{path}").add_refusal("a", "b")


def test_a_locked_file_is_retryable_once_patience_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.core.catalog.database._SQLITE_BUSY_MS", 50)
    url = f"sqlite:///{tmp_path / 'swath.db'}"
    with (
        open_catalog(url, patience_s=0.3) as catalog,
        closing(sqlite3.connect(tmp_path / "swath.db", isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailableError, match="locked by another process"):
            catalog.add_refusal("a", "b")
        other.execute("ROLLBACK")
        catalog.add_refusal("a", "b")
        assert len(catalog.refusals()) == 1


def test_a_full_disk_is_retryable_and_loses_nothing(tmp_path: Path) -> None:
    with open_catalog(f"sqlite:///{tmp_path / 'swath.db'}") as catalog:
        with catalog.database.engine.connect() as conn:
            conn.exec_driver_sql("PRAGMA max_page_count = 1")
        with pytest.raises(StorageUnavailableError, match="no space left"):
            catalog.add_refusal("a", "b" * 100_000)
        assert catalog.refusals() == []


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("address", "says"),
    [
        ({"user": "swath", "password": "wrong"}, "refuses this user or password"),
        ({"user": "nobody-here"}, "refuses this user or password"),
        ({"database": "nowhere"}, "does not exist"),
    ],
)
def test_a_refused_login_is_a_config_error_without_the_password(
    postgres: PostgresServer, address: dict[str, str], says: str
) -> None:
    url = postgres.url(**{"database": "postgres"} | address)

    with pytest.raises(ConfigError, match=says) as caught:
        open_catalog(url)
    assert "wrong" not in str(caught.value)
    assert PASSWORD not in str(caught.value)


@pytest.mark.postgres
def test_a_user_without_rights_is_a_config_error(postgres: PostgresServer) -> None:
    postgres.run("CREATE ROLE reader LOGIN PASSWORD 'reader'")
    database = postgres.new_database().rpartition("/")[2]

    with pytest.raises(ConfigError, match="rights it needs"):
        open_catalog(postgres.url(database, user="reader", password="reader"))


@pytest.mark.postgres
def test_an_unknown_option_in_the_address_is_a_config_error(postgres: PostgresServer) -> None:
    with pytest.raises(ConfigError, match="option in its address"):
        open_catalog(postgres.url("postgres") + "?colour=red")


@pytest.mark.parametrize("change", ["DROP TABLE products", "ALTER TABLE products RENAME COLUMN href TO hrefs"])
def test_a_table_or_column_that_somebody_took_away_is_a_config_error(catalog: Catalog, change: str) -> None:
    catalog.database.write(lambda conn: conn.execute(text(change)))
    with pytest.raises(ConfigError, match="lacks a table or column"):
        catalog.find_product("run-1")


def test_a_password_with_signs_that_mean_something_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError, match="%40 and %2F") as caught:
        open_catalog("postgresql+psycopg://me:pgS3c@ret/x@127.0.0.1:5432/swath")
    assert "ret" not in str(caught.value)


def test_a_file_of_sqlite_may_hold_an_at_sign(tmp_path: Path) -> None:
    open_catalog(f"sqlite:///{tmp_path / 'me@home.db'}").close()


def test_a_server_that_is_not_there_is_retryable() -> None:
    with pytest.raises(DatabaseUnavailableError, match="does not answer"):
        open_catalog("postgresql://u:secret@127.0.0.1:1/db", patience_s=0.2)


def test_a_catalog_needs_neither_alembic_nor_a_driver_before_it_needs_them(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'swath.db'}"
    open_catalog(url).close()
    script = (
        "import sys; from services.core.catalog.catalog import open_catalog; import services.core.catalog.ledger\n"
        f"open_catalog({url!r}).close()\n"
        "sys.exit(' '.join({'alembic', 'psycopg', 'sqlalchemy.dialects.postgresql'} & set(sys.modules)))"
    )

    command = [sys.executable, "-c", script]

    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)

    assert done.stderr == "\n"


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("change", "says", "error"),
    [
        ("ALTER ROLE crowd CONNECTION LIMIT 0", "has no connection left for this user", DatabaseUnavailableError),
        ("ALTER DATABASE {database} ALLOW_CONNECTIONS false", "takes no connections now", DatabaseUnavailableError),
        ("ALTER ROLE crowd SET default_transaction_read_only = on", "is read-only", DatabaseUnavailableError),
        ("ALTER ROLE crowd SET search_path = nosuch", "has no schema to keep tables in", ConfigError),
    ],
    ids=["limit", "closed", "read-only", "schema"],
)
def test_what_a_servers_owner_has_set_is_told_as_it_is(
    postgres: PostgresServer, change: str, says: str, error: type[Exception]
) -> None:
    postgres.run("DROP ROLE IF EXISTS crowd")
    postgres.run("CREATE ROLE crowd LOGIN PASSWORD 'crowd'")
    database = postgres.new_database().rpartition("/")[2]
    postgres.run(f"ALTER DATABASE {database} OWNER TO crowd")
    postgres.run(change.format(database=database))
    try:
        with pytest.raises(error, match=says):
            open_catalog(postgres.url(database, user="crowd", password="crowd"), patience_s=0.3)
    finally:
        postgres.run(f"DROP DATABASE {database}")
        postgres.run("DROP ROLE crowd")


@pytest.mark.postgres
def test_a_server_that_takes_a_question_and_never_answers_is_given_up(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_catalog(postgres.new_database(), patience_s=0.3) as catalog:
        monkeypatch.setattr("services.core.catalog.patient.PatientConnection.silence_s", 0.5)
        with pytest.raises(DatabaseUnavailableError, match="does not answer"):
            catalog.database.read(lambda conn: conn.execute(text("SELECT pg_sleep(30)")).all())
        monkeypatch.undo()
        assert catalog.refusals() == []
