"""An S3 server and a PostgreSQL server in place of folder and file: the same bytes, also when they go away."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio

from services.core.storage import open_store
from tests.postgres import PostgresServer, run_postgres
from tests.processes import Answer, Installation, finish
from tests.s3_server import S3Server, available_kinds, run_s3_server
from tests.scenes import write_scene

IMPATIENT = {"SWATH_S3_ATTEMPTS": "2", "SWATH_S3_TIMEOUT_S": "3", "SWATH_DATABASE_PATIENCE_S": "3"}
SMALL = ("--tile-px", 16)


@pytest.fixture
def s3() -> Iterator[S3Server]:
    if not available_kinds():
        why = "no S3 server here: install versitygw or moto[server]"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    with run_s3_server() as server:
        yield server


@pytest.fixture
def strict_s3(s3) -> S3Server:
    """One that asks for the right key, and keeps what it has when it is killed."""
    if s3.kind != "versitygw":
        why = "moto takes any key and forgets everything when it is killed: install versitygw"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    return s3


@pytest.fixture
def on_s3(s3, tmp_path, monkeypatch) -> Iterator[Installation]:
    """An installation whose store is a bucket; this process reaches it as well."""
    place = Installation(tmp_path / "s3", {**s3.environment, **IMPATIENT, "SWATH_STORE": f"{s3.uri}/store"})
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    yield place
    place.end()


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with run_postgres() as server:
        yield server


@pytest.fixture
def on_postgres(server, tmp_path) -> Iterator[Installation]:
    """An installation whose catalog is in a database of its own."""
    place = Installation(tmp_path, {"SWATH_DATABASE_URL": server.new_database(), **IMPATIENT})
    yield place
    place.end()


@pytest.mark.s3
def test_a_store_that_dies_in_mid_run_is_said_once_and_resume_completes_the_run(on_s3, s3, long_scene, undisturbed):
    process = on_s3.start_run(long_scene)
    run_id = on_s3.wait_for_units(process, 5)
    s3.kill()
    stopped = finish(process)
    left = on_s3.products()
    s3.start()
    answer = on_s3.swath("resume", run_id, "--json")
    assert stopped.code == 75
    assert s3.endpoint_url in stopped.sentence or s3.uri in stopped.sentence
    assert (left, answer.code) == ([], 0)
    assert on_s3.answers(answer) == undisturbed


@pytest.mark.s3
def test_tiles_that_a_dead_store_could_not_give_are_not_taken_for_damaged(on_s3, strict_s3, long_scene, undisturbed):
    scene_id = on_s3.swath("ingest", long_scene, "--json").json["scenes"][0]["id"]
    on_s3.module("services.tiler", scene_id)
    process = on_s3.start_run(long_scene)
    run_id = on_s3.wait_for_units(process, 0)  # of three: the tiler's blocks are large
    process.send_signal(signal.SIGSTOP)
    strict_s3.kill()
    process.send_signal(signal.SIGCONT)
    stopped = finish(process)
    strict_s3.start()
    answer = on_s3.swath("resume", run_id, "--json")
    assert stopped.code == 75
    assert answer.json["tiles"]["masked"] == 0
    assert on_s3.answers(answer) == undisturbed


@pytest.mark.s3
def test_scene_store_and_out_may_all_be_in_s3(on_s3, s3, scene, tmp_path, installation):
    expected = installation.run(scene)
    bucket = open_store(s3.uri, s3.settings())
    bucket.put_file("in/scene.tif", scene)
    answer = on_s3.swath("run", f"{s3.uri}/in/scene.tif", "-m", "brightness", "-o", f"{s3.uri}/out", "--json")
    href = answer.json["product"].removeprefix(f"{s3.uri}/")
    for name in ("map.tif", "tiles.parquet", "item.json", "manifest.json"):
        bucket.fetch(f"{href}/{name}", tmp_path / "got" / name)
    assert (answer.code, answer.err) == (0, "")
    assert (tmp_path / "got" / "tiles.parquet").read_bytes() == Path(
        expected.json["product"], "tiles.parquet"
    ).read_bytes()


@pytest.mark.s3
def test_an_object_that_was_replaced_since_it_was_fetched_is_fetched_again(on_s3, s3, scene, tmp_path):
    bucket = open_store(s3.uri, s3.settings())
    bucket.put_file("scene.tif", scene)
    first = on_s3.run(f"{s3.uri}/scene.tif")
    bucket.put_file("scene.tif", write_scene(tmp_path / "other.tif", pixels=_inverted(scene)))
    second = on_s3.run(f"{s3.uri}/scene.tif")
    assert second.json["tiles"]["reused"] == 0
    assert second.json["scene_id"] != first.json["scene_id"]


def _inverted(scene: Path) -> np.ndarray:
    with rasterio.open(scene) as dataset:
        return 65535 - dataset.read()


@pytest.mark.s3
@pytest.mark.parametrize("words", [("run",), ("ingest",)])
def test_a_scene_that_is_not_in_the_bucket_is_refused_in_one_sentence(on_s3, s3, words):
    extra = ("--model", "brightness") if words == ("run",) else ()
    answer = on_s3.swath(*words, f"{s3.uri}/absent.tif", *extra)
    assert answer.code == 65
    assert "absent.tif" in answer.sentence


@pytest.mark.s3
@pytest.mark.usefixtures("strict_s3")
def test_wrong_credentials_are_a_matter_of_configuration(on_s3, scene):
    answer = on_s3.run(scene, AWS_SECRET_ACCESS_KEY="not-the-secret")
    assert answer.code == 78
    assert "not-the-secret" not in answer.err
    assert len(answer.err.splitlines()) == 1


@pytest.mark.s3
def test_the_doctor_tells_wrong_credentials_from_a_server_that_is_down(on_s3, strict_s3):
    wrong = on_s3.swath("doctor", "--json", AWS_SECRET_ACCESS_KEY="not-the-secret")
    strict_s3.kill()
    down = on_s3.swath("doctor", "--json")
    assert (wrong.code, down.code) == (78, 75)
    assert not any(each["ok"] for told in (wrong, down) for each in told.json["findings"] if "store" in each["name"])


@pytest.mark.postgres
def test_a_run_catalogued_in_postgresql_gives_the_same_bytes(on_postgres, long_scene, undisturbed):
    answer = on_postgres.run(long_scene, *SMALL)
    assert (answer.code, answer.err) == (0, "")
    assert on_postgres.answers(answer) == undisturbed


@pytest.mark.postgres
def test_a_database_that_stops_in_mid_run_is_said_once_and_resume_completes_the_run(
    on_postgres, server, long_scene, undisturbed
):
    process = on_postgres.start_run(long_scene)
    run_id = on_postgres.wait_for_units(process, 5)
    server.stop()
    stopped = finish(process)
    server.start()
    answer = on_postgres.swath("resume", run_id, "--json")
    assert stopped.code == 75
    assert "does not answer" in stopped.sentence
    assert on_postgres.answers(answer) == undisturbed


@pytest.mark.postgres
def test_a_database_that_is_back_soon_enough_is_not_even_noticed(on_postgres, server, long_scene, undisturbed):
    process = on_postgres.start_run(long_scene, SWATH_DATABASE_PATIENCE_S="30")
    on_postgres.wait_for_units(process, 5)
    server.stop()
    server.start()
    answer: Answer = finish(process)
    assert answer.code == 0
    assert on_postgres.answers(answer) == undisturbed
