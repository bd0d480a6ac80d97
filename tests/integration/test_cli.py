"""The command from outside: its help, its refusals, and its questions about finished runs."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from rasterio.warp import transform

from services.cli.__main__ import main
from services.core import settings as settings_module
from tests.processes import ROOT
from tests.scenes import damage_block, write_landsat

COMMANDS = ["", "run", "plan", "ingest", "resume", "verify", "lineage", "scenes", "runs", "models", "doctor", "demo"]
COMMANDS += ["train", "train threshold", "train segmentation", "keys"]
COMMANDS += [f"models {verb}" for verb in ("show", "add", "promote", "export", "evaluate", "pack")]
HEAVY = {"numpy", "rasterio", "sqlalchemy", "pyarrow", "boto3", "services.core.settings"}
NO_RUN = "r-20200101T000000-abcdef"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_shows_an_example(command, swath):
    answer = swath(*command.split(), "--help")
    assert answer.code == 0
    assert f"Example: swath {command}" in " ".join(answer.out.split())
    (example,) = [line for line in answer.out.splitlines() if line.strip().startswith("Example:")]
    assert answer.out.rstrip().endswith(example)  # on one line, so that it can be copied


@pytest.mark.parametrize("command", ["", "run", "models"])
def test_help_imports_nothing_heavy(command):
    program = (
        "import sys; from services.cli.__main__ import main\n"
        f"sys.argv = ['swath', *{command.split()!r}, '--help']\n"
        "try: main()\n"
        f"finally: print({HEAVY!r} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "SCENE", "--model", "brightness", "--no-such-option"), "--no-such-option"),
        (("run", "SCENE"), "--model"),
        (("run", "--model", "brightness"), "no scene given"),
        (("run", "SCENE", "--model", "nosuch"), "nosuch"),
        (("run", "SCENE", "--model", "brightness", "--tile-px", "3"), "--tile-px 3"),
        (("run", "SCENE", "--model", "brightness", "--tile-px", "many"), "--tile-px"),
        (("run", "SCENE", "--model", "brightness", "--gsd", "-5"), "--gsd -5"),
        (("run", "SCENE", "--model", "brightness", "--gsd", "1e-9"), "--gsd 1e-09"),
        (("run", "SCENE", "--model", "brightness", "--gsd", "1e308"), "choose 3000 or less"),
        (
            ("run", "SCENE", "--model", "brightness", "--gsd", "3001"),
            "leaves less than one pixel of a scene of 300 x 400",
        ),
        (("run", "", "--model", "brightness"), "a scene's name is empty"),
        (("ingest", ""), "a scene's name is empty"),
        (("run", "SCENE", "--model", ""), "the model's name is empty"),
        (("plan", "SCENE", "--model", ""), "the model's name is empty"),
        (("plan", "SCENE", "--model", "a" * 300), "no model"),
        (("run", "SCENE", "--model", "brightness", "--engine", "dask"), "--engine dask"),
        (("run", "SCENE", "--model", "brightness", "--out", "gs://bucket/x"), "gs://"),
        (("run", "--model", "brightness", "--band", "red"), "--band red"),
        (("run", "--model", "brightness", "--band", "red=a", "--band", "red=b"), "twice"),
        (("run", "SCENE", "--model", "brightness", "--bounds", "1,2,3"), "--crs"),
        (("run", "SCENE", "--model", "brightness", "--crs", "EPSG:4326", "--bounds", "1,2,3"), "--bounds 1,2,3"),
        (("run", "SCENE", "--model", "brightness", "--crs", "EPSG:0", "--bounds", "0,0,1,1"), "EPSG:0"),
        (("plan", "absent.tif", "--model", "brightness"), "absent.tif"),
        (("ingest", "s3://"), "s3://"),
        (("resume", NO_RUN), NO_RUN),
        (("verify", NO_RUN), NO_RUN),
        (("lineage", NO_RUN, "--lon", "0", "--lat", "0"), NO_RUN),
        (("lineage", NO_RUN, "--lon", "500", "--lat", "0"), "--lon"),
        (("resume", "../../etc/passwd"), "passwd"),
        (("runs", "show", NO_RUN), NO_RUN),
        (("runs", "show"), "show ID"),
        (("scenes", "show", "nothing"), "nothing"),
        (("models", "show", "nothing"), "nothing"),
        (("runs", "--limit", "99999999999999999999"), "--limit"),
        (("keys", "list", "--limit", "99999999999999999999"), "--limit"),
        (("train", "eurosat", "--data", "absent.zip", "--out", "x", "--seed", "-1"), "--seed"),
        (("train", "segmentation", "absent.tif", "absent.tif", "--out", "x", "--seed", "4294967296"), "--seed"),
        (("train", "eurosat", "--data", "absent.zip", "--out", "x", "--epochs", "99999999999"), "--epochs"),
        (("models", "evaluate", "nothing", "--data", "a", "--labels", "b", "--first-class", "256"), "--first-class"),
        (("nonsense",), "nonsense"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_in_one_sentence(words, said, swath, scene):
    answer = swath(*(scene if word == "SCENE" else word for word in words))
    assert answer.code == 65
    assert answer.out == ""
    assert answer.sentence.startswith("swath: ")
    assert said in answer.sentence


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SWATH_MEMORY", "banana"),
        ("SWATH_MEMORY", "inf"),
        ("SWATH_MEMROY", "1GiB"),
        ("SWATH_LEASE_S", "1e300"),
        ("SWATH_WORKERS", "0"),
        ("SWATH_BACKEND", "tensorflow"),
        ("SWATH_LOG_LEVEL", "loud"),
        ("SWATH_CONFIG", "/nowhere/swath.toml"),
        ("SWATH_STORE", "gs://bucket"),
        ("SWATH_DATABASE_URL", "mysql://user:secret@host/db"),
        ("SWATH_HOME", "/proc/nowhere"),
        ("SWATH_SCRATCH", "/dev/null"),
    ],
)
def test_a_wrong_setting_is_a_matter_of_configuration(name, value, swath, scene, monkeypatch):
    monkeypatch.setenv(name, value)
    answer = swath("run", scene, "--model", "brightness")
    assert answer.code == 78
    assert "Traceback" not in answer.err
    assert "secret" not in answer.sentence


def test_a_remote_scene_without_a_folder_to_fetch_it_to_is_a_matter_of_configuration(swath, monkeypatch):
    monkeypatch.setenv("SWATH_SCRATCH", "/dev/null")
    answer = swath("ingest", "http://127.0.0.1:9/scene.tif")
    assert answer.code == 78
    assert "/dev/null/cache: its folder cannot be made" in answer.sentence


def test_a_setting_that_swath_does_not_know_is_told_of(swath, tmp_path, monkeypatch):
    config = tmp_path / "swath.toml"
    config.write_text('memry = "2GiB"\n')
    monkeypatch.setenv("SWATH_CONFIG", str(config))
    answer = swath("runs")
    assert answer.code == 78
    assert "memry" in answer.sentence.casefold()


def test_a_toml_file_that_is_none_is_a_matter_of_configuration(swath, tmp_path, monkeypatch):
    config = tmp_path / "swath.toml"
    config.write_text("memory = = 2\n")
    monkeypatch.setenv("SWATH_CONFIG", str(config))
    answer = swath("runs")
    assert answer.code == 78
    assert str(config) in answer.sentence


def test_a_toml_file_sets_what_the_environment_leaves_open(swath, scene, tmp_path, monkeypatch):
    config = tmp_path / "swath.toml"
    config.write_text('memory = "330MiB"\n')
    monkeypatch.setenv("SWATH_CONFIG", str(config))
    from_file = swath("plan", scene, "--model", "brightness")
    monkeypatch.setenv("SWATH_MEMORY", "1GiB")
    from_environment = swath("plan", scene, "--model", "brightness", "--json")
    assert (from_file.code, from_environment.code) == (78, 0)
    assert "at least" in from_file.sentence


def test_debug_shows_where_an_error_came_from(installation, tmp_path):
    answer = installation.swath("run", tmp_path / "absent.tif", "--model", "brightness", "--debug")
    assert answer.code != 0
    assert "Traceback" in answer.err
    assert "ObjectNotFoundError" in answer.err


def test_a_pipe_that_closes_early_is_no_traceback(installation):
    process = installation.start("services.cli", "models", "--json")
    process.stdout.close()
    err = process.stderr.read()
    process.wait()
    process.stderr.close()
    assert "Traceback" not in err
    assert process.returncode == 75


@pytest.mark.parametrize("stream", ["/dev/full", "closed pipe"])
def test_a_refusal_keeps_its_code_when_nobody_hears_it(installation, tmp_path, stream):
    reader, writer = os.pipe()
    os.close(reader)
    deaf = writer if stream == "closed pipe" else os.open(stream, os.O_WRONLY)
    words = [sys.executable, "-m", "services.cli", "run", str(tmp_path / "absent.tif"), "--model", "brightness"]
    done = subprocess.run(words, check=False, stderr=deaf, cwd=ROOT, env=installation.variables(), timeout=120)
    for handle in {writer, deaf}:
        os.close(handle)
    assert done.returncode == 65


def test_a_library_that_is_not_installed_is_named_with_what_brings_it(monkeypatch, capsys):
    def lacking(**_: object) -> int:
        raise ModuleNotFoundError("No module named 'prefect'", name="prefect")

    monkeypatch.setattr("services.cli.app.app", lacking)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 78
    assert "pip install 'swath[flows]'" in capsys.readouterr().err


@pytest.fixture
def done(swath, scene, tmp_path):
    """A finished run."""
    answer = swath("run", scene, "--model", "brightness", "--tile-px", 64, "--out", tmp_path / "out", "--json")
    assert answer.code == 0
    return answer.json


def test_a_fresh_run_verifies(done, swath):
    answer = swath("verify", done["run_id"], "--all", "--json")
    assert answer.code == 0
    assert answer.json["ok"]
    assert answer.json["tiles_recomputed"] == 35


def test_a_sample_is_verified_by_whole_units(done, swath):
    answer = swath("verify", done["run_id"], "--sample", 1, "--seed", 3, "--json")
    assert (answer.code, answer.json["units_recomputed"], answer.json["tiles_recomputed"]) == (0, 1, 7)


@pytest.mark.parametrize("name", ["map.tif", "tiles.parquet", "item.json", "manifest.json"])
def test_a_published_file_that_was_tampered_with_is_named(name, done, swath):
    path = Path(done["product"], name)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    answer = swath("verify", done["run_id"], "--sample", 1)
    assert answer.code == 65
    assert str(path) in answer.sentence


def test_a_scene_that_changed_on_disk_is_told_by_verify(done, swath, scene):
    data = bytearray(scene.read_bytes())
    data[-1] ^= 1
    scene.write_bytes(data)
    answer = swath("verify", done["run_id"])
    assert answer.code == 65
    assert f"{scene} has changed" in answer.sentence


def test_units_that_came_out_different_are_told_on_stderr_beside_one_json_object(done, swath, tmp_path):
    with closing(sqlite3.connect(tmp_path / "home" / "swath.db")) as catalog, catalog:
        catalog.execute("UPDATE unit_results SET sha256 = ? WHERE rowid = 1", ("0" * 64,))
    told = swath("verify", done["run_id"], "--all", "--json")
    shown = swath("verify", done["run_id"], "--all")
    assert (told.code, shown.code) == (65, 65)
    assert (told.json["ok"], len(told.json["units_differing"]), len(told.out.splitlines())) == (False, 1, 1)
    assert "recomputed" in shown.out
    assert told.sentence == shown.sentence


def test_a_run_with_masked_tiles_verifies(swath, scene, tmp_path):
    damage_block(scene, 1, 1)
    made = swath("run", scene, "--model", "brightness", "--tile-px", 64, "--out", tmp_path / "out", "--json")
    answer = swath("verify", made.json["run_id"], "--all", "--json")
    assert made.json["tiles"]["masked"] == 1
    assert (answer.code, answer.json["ok"]) == (0, True)


def test_units_whose_result_was_taken_back_are_lost_to_verify_until_they_are_resumed(done, swath, tmp_path):
    with closing(sqlite3.connect(tmp_path / "home" / "swath.db")) as catalog, catalog:
        catalog.execute('UPDATE units SET result_key = NULL WHERE "index" = 0')  # as `forget_result` leaves it
    told = swath("verify", done["run_id"], "--all", "--json")
    resumed = swath("resume", done["run_id"], "--json")
    again = swath("verify", done["run_id"], "--all", "--json")
    assert (told.code, told.json["ok"], told.json["units_lost"]) == (65, False, 1)
    assert f"swath resume {done['run_id']}" in told.sentence
    assert (resumed.code, again.code, again.json["tiles_recomputed"]) == (0, 0, 35)


def test_lineage_tells_where_a_pixel_came_from(done, swath, scene):
    # 150 columns east and 100 rows south of the scene's corner at 500000, 5000000 in UTM 31N
    answer = swath("lineage", done["run_id"], "--lon", 3.01914, "--lat", 45.14486, "--json")
    trace = answer.json
    manifest = json.loads(Path(done["product"], "manifest.json").read_bytes())
    assert answer.code == 0
    assert (trace["tile"]["row"], trace["tile"]["col"], trace["tile"]["state"]) == (1, 2, "computed")
    assert [source["sha256"] for source in trace["sources"]] == [each["sha256"] for each in manifest["sources"]]
    assert trace["model"]["digest"] == done["model_digest"]
    assert trace["operators"]
    assert str(scene) in trace["command"]


def test_lineage_has_no_answer_where_none_was_computed(swath, scene, tmp_path):
    damage_block(scene, 1, 1)
    made = swath("run", scene, "--model", "brightness", "--tile-px", 64, "--out", tmp_path / "out", "--json")
    tile = swath("lineage", made.json["run_id"], "--lon", 3.0122, "--lat", 45.1452, "--json").json["tile"]
    assert (tile["row"], tile["col"], tile["state"], tile["answer"]) == (1, 1, "masked", None)
    assert "damaged" in tile["reason"]


def test_lineage_outside_the_scene_is_refused(done, swath):
    answer = swath("lineage", done["run_id"], "--lon", 10, "--lat", 10)
    assert answer.code == 65
    assert "outside" in answer.sentence or "not in" in answer.sentence


def test_names_that_look_like_markup_are_printed_as_they_are(swath, scene, tmp_path):
    place = tmp_path / "[final] a[/b]"
    place.mkdir(parents=True)
    scene = scene.rename(place / "[red]scene.tif")
    made = swath("run", scene, "--model", "brightness", "--out", place)
    run_id = made.out.split()[0]
    assert (made.code, made.err) == (0, "")
    assert made.out.count(f"{place}/{run_id}/") == 5
    for words in (("runs", "show", run_id), ("lineage", run_id, "--lon", 3.01914, "--lat", 45.14486)):
        answer = swath(*words)
        assert answer.code == 0
        assert str(scene) in answer.out


def test_a_demo_on_a_scene_that_the_first_choice_does_not_fit_says_what_it_takes_instead(swath, scene, tmp_path):
    answer = swath("demo", scene, "--out", tmp_path / "out")
    assert answer.code == 0
    assert answer.sentence.endswith("; taking brightness, which fits any scene")
    assert f"{tmp_path}/out/" in answer.out


def test_listings_are_one_json_object_on_the_last_line(done, swath):
    for noun, expected in (("scenes", done["scene_id"]), ("runs", done["run_id"]), ("models", done["model_digest"])):
        answer = swath(noun, "--json")
        assert answer.code == 0
        assert expected in json.dumps(answer.json[noun])
        assert swath(noun).code == 0
        assert swath(noun, "--limit", 10**9, "--json").json == answer.json
    assert swath("runs", "show", done["run_id"], "--json").json["progress"]["tiles_computed"] == 35
    shown = swath("models", "show", "brightness", "--json").json
    assert swath("models", "--json", "show", "brightness").json == shown


def test_a_plan_runs_nothing_and_says_what_a_run_would_take(swath, scene, tmp_path):
    answer = swath("plan", scene, "--model", "brightness", "--tile-px", 64, "--json")
    assert answer.code == 0
    assert {"tiles", "units", "read_bytes", "peak_memory_bytes", "seconds", "units_reusable"} <= answer.json.keys()
    assert (answer.json["tiles"], answer.json["units_reusable"]) == (35, 0)
    assert swath("runs", "--json").json["runs"] == []


def test_the_doctor_finds_nothing_wrong_with_the_defaults(swath):
    answer = swath("doctor", "--json")
    assert (answer.code, answer.json["ok"]) == (0, True)
    assert swath("doctor").code == 0


def test_the_doctor_advises_on_a_store_that_cannot_be_written(swath, tmp_path, monkeypatch):
    (tmp_path / "store").write_text("a file")
    monkeypatch.setenv("SWATH_STORE", str(tmp_path / "store"))
    answer = swath("doctor", "--json")
    assert answer.code == 78
    assert [each for each in answer.json["findings"] if not each["ok"] and str(tmp_path / "store") in each["detail"]]
    assert [each for each in answer.json["findings"] if each["name"] == "catalog" and each["ok"]]


def test_the_doctor_says_75_when_the_database_is_away(swath, monkeypatch):
    monkeypatch.setenv("SWATH_DATABASE_URL", "postgresql://swath:secret@127.0.0.1:9/swath")
    monkeypatch.setenv("SWATH_DATABASE_PATIENCE_S", "1")
    answer = swath("doctor")
    assert answer.code == 75
    assert "does not answer" in answer.out
    assert "secret" not in answer.out + answer.err


@pytest.mark.parametrize("store", ["ftp://x", "s3://"])
def test_the_doctor_and_a_run_agree_on_a_store_that_is_none(store, swath, scene, monkeypatch):
    monkeypatch.setenv("SWATH_STORE", store)
    doctor, run = swath("doctor", "--json"), swath("run", scene, "--model", "brightness")
    (told,) = [each for each in doctor.json["findings"] if not each["ok"]]
    assert (doctor.code, run.code) == (78, 78)
    assert run.sentence == f"swath: {told['detail']}"


@pytest.mark.parametrize("name", ["SWATH_SCRATCH", "SWATH_HOME"])
def test_the_doctor_tells_of_a_folder_that_is_none(name, swath, monkeypatch):
    monkeypatch.setenv(name, "/dev/null")
    answer = swath("doctor", "--json")
    assert answer.code == 78
    assert [each["ok"] for each in answer.json["findings"] if each["name"] == "scratch"] == [False]
    assert [each["ok"] for each in answer.json["findings"] if each["name"] == "inference"] == [True]


def test_the_doctor_tells_a_wrong_setting_once(swath, monkeypatch):
    monkeypatch.setenv("SWATH_MEMORY", "banana")
    answer = swath("doctor")
    assert answer.code == 78
    assert answer.out.count("SWATH_MEMORY") == 1


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"SWATH_MEMORY": "1MiB"}, "the smallest run needs more than 336 MiB"),
        ({"SWATH_BACKEND": "onnxruntime", "SWATH_PRECISION": "bf16"}, "onnxruntime has no bf16"),
        ({"SWATH_BACKEND": "torch", "SWATH_PRECISION": "int8"}, "torch computes fp32 only"),
        ({"SWATH_API_MODEL": "nope"}, "setting SWATH_API_MODEL is wrong: no model nope"),
        ({"SWATH_API_MODEL": "landcover-l7"}, "name a model for classification"),
    ],
)
def test_the_doctor_finds_settings_with_which_nothing_runs(environment, said, swath, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    answer = swath("doctor", "--json")
    (told,) = [each for each in answer.json["findings"] if not each["ok"]]
    assert (answer.code, told["passing"]) == (78, False)
    assert said in f"{told['detail']} {told['advice']}"


def test_the_doctor_opens_a_network_in_the_library_that_is_set(swath, monkeypatch):
    monkeypatch.setenv("SWATH_BACKEND", "onnxruntime")
    monkeypatch.setenv("SWATH_PRECISION", "int8")
    answer = swath("doctor")
    assert answer.code == 0
    assert "onnxruntime:int8" in answer.out


def test_a_memory_that_no_unit_fits_is_refused_with_the_least_that_would_do(swath, tmp_path, scene):
    refused = swath("run", scene, "--model", "brightness", "--memory", "330MiB", "--out", tmp_path / "out")
    least = int(refused.sentence.partition("at least ")[2].split()[0])
    enough = swath("run", scene, "--model", "brightness", "--memory", f"{least + 1}MiB", "--out", tmp_path / "out")
    assert refused.code == 78
    assert enough.code == 0


@pytest.mark.slow
@pytest.mark.parametrize(("model", "height"), [("brightness", 4096), ("landcover-l7", 1024)])
def test_a_plans_peak_memory_is_an_upper_bound_of_what_a_run_takes(model, height, installation, tmp_path):
    path = write_landsat(tmp_path / "large.tif", (height, 4096), block_px=256)
    plan = installation.swath("plan", path, "--model", model, "--json").json
    measured = installation.module("tests.measure", "run", path, "--model", model, "--out", installation.out)
    assert measured.code == 0, measured.err
    assert measured.json["peak_bytes"] <= plan["peak_memory_bytes"]


@pytest.mark.parametrize(
    ("redirection", "code"), [(">&-", 0), ("2>&-", 0), (">/dev/full", 75)], ids=["no stdout", "no stderr", "full"]
)
def test_a_stream_that_is_closed_or_full_is_no_bug(redirection, code, tmp_path):
    command = f"{sys.executable} -m services.cli models {redirection}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env={**os.environ, "SWATH_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_names_that_the_terminal_cannot_write_are_spelled_out(scene, installation):
    out = installation.folder / "karte-ä"
    answer = installation.swath("run", scene, "--model", "brightness", "--out", out, PYTHONIOENCODING="ascii")
    assert answer.code == 0
    assert r"karte-\xe4" in answer.out


def test_a_user_without_a_home_is_told_to_name_one(monkeypatch, swath):
    def no_home(*_args, **_options):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("SWATH_HOME")
    monkeypatch.setattr(settings_module, "user_data_path", no_home)
    answer = swath("scenes")
    assert (answer.code, "SWATH_HOME" in answer.sentence) == (78, True)


@pytest.mark.parametrize("out", ["", " ", "file:/tmp/x"])
def test_an_out_that_names_no_place_is_refused(out, scene, swath):
    answer = swath("run", scene, "--model", "brightness", "--out", out)
    assert (answer.code, "names no place" in answer.sentence) == (65, True)


def test_lineage_of_a_coarser_map_names_the_tile_that_holds_the_place(swath, scene, tmp_path):
    run = swath("run", scene, "--model", "brightness", "--tile-px", 32, "--gsd", 28, "--out", tmp_path, "--json").json
    table = pq.read_table(Path(run["product"], "tiles.parquet")).to_pylist()
    for row in table[:: len(table) // 7]:
        west, _, _, north = shapely.from_wkb(row["geometry"]).bounds
        (lon,), (lat,) = transform(rasterio.open(scene).crs, "EPSG:4326", [west + 1], [north - 1])
        told = swath("lineage", run["run_id"], f"--lon={lon}", f"--lat={lat}", "--json").json
        assert (told["tile"]["row"], told["tile"]["col"]) == (row["row"], row["col"])
