"""`python -m services.tiler`: the analysis-ready copy changes where pixels are read from, and nothing else."""

import errno
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from services.core.errors import ObjectNotFoundError, StorageUnavailableError, UnreadableSceneError
from services.core.ingest import ingest_scene
from services.core.names import prepared_key
from services.core.raster.open import OpenOptions
from services.core.raster.read import SceneReader
from services.core.scenes import prepared
from services.core.site import open_site
from services.core.storage import files
from services.tiler.prepare import prepare_scene
from tests.rasters import write_raster
from tests.scenes import Look, damage_block, make_pixels, write_landsat, write_scene

LOOK = Look(nodata=0)


@pytest.fixture
def scene(tmp_path):
    pixels = make_pixels(LOOK)
    pixels[:, :80, 100:230] = 0
    return write_scene(tmp_path / "scene.tif", LOOK, pixels=pixels)


@pytest.fixture
def tiled(installation, scene):
    """The id of a scene that has been through the tiler."""
    scene_id = installation.swath("ingest", scene, "--json").json["scenes"][0]["id"]
    answer = installation.module("services.tiler", scene_id)
    assert answer.code == 0, answer.err
    return scene_id


def test_a_tiled_scene_gives_the_same_bytes_as_the_file_itself(installation, scene, tiled):
    through = installation.run(scene, "--tile-px", 64)
    with_tiler = installation.answers(through)
    installation.forget()
    direct = installation.run(scene, "--tile-px", 64)
    assert through.json["tiles"] == direct.json["tiles"] == {"planned": 35, "computed": 35, "reused": 0, "masked": 0}
    assert installation.answers(direct) == with_tiler


def test_the_tilers_copy_holds_the_scenes_pixels_and_place(installation, scene, tiled):
    (copy,) = (installation.folder / "home" / "store" / "scenes").rglob("scene.tif")
    with rasterio.open(scene) as original, rasterio.open(copy) as made:
        np.testing.assert_array_equal(original.read(), made.read())
        assert (original.crs, original.transform, original.nodata) == (made.crs, made.transform, made.nodata)
        assert made.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


@pytest.mark.parametrize(
    "profile",
    [
        {"photometric": "RGB", "alpha": "unspecified"},  # NAIP
        {"photometric": "MINISBLACK", "nodata": 0},
    ],
)
def test_four_bands_of_bytes_stay_four_bands(installation, tmp_path, profile):
    pixels = make_pixels(Look(names=("red", "green", "blue", "nir"), dtype="uint8"))
    path = write_raster(tmp_path / "naip.tif", pixels, **profile)
    scene_id = installation.swath("ingest", path, "--json").json["scenes"][0]["id"]
    answer = installation.module("services.tiler", scene_id)
    assert answer.code == 0, answer.err
    (copy,) = (installation.folder / "home" / "store" / "scenes").rglob("scene.tif")
    with rasterio.open(copy) as made:
        np.testing.assert_array_equal(made.read(), pixels)
        assert not {ColorInterp.alpha} & set(made.colorinterp)


def test_a_scene_tiled_twice_is_written_once(installation, tiled):
    (copy,) = (installation.folder / "home" / "store" / "scenes").rglob("scene.tif")
    before = copy.stat().st_mtime_ns
    assert installation.module("services.tiler", tiled).code == 0
    assert copy.stat().st_mtime_ns == before


def test_an_index_of_tiles_of_another_size_is_written_beside_the_first(installation, tiled):
    assert installation.module("services.tiler", tiled, "--tile-px", 512).code == 0
    indexes = (installation.folder / "home" / "store" / "scenes").rglob("tiles-*.parquet")
    assert sorted(path.name for path in indexes) == ["tiles-256.parquet", "tiles-512.parquet"]


def flip_a_byte(path):
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(body)


@pytest.mark.parametrize("damage", [Path.unlink, flip_a_byte], ids=["gone", "changed"])
def test_a_lost_copy_is_not_missed_and_is_made_again(installation, scene, tiled, damage):
    (copy,) = (installation.folder / "home" / "store" / "scenes").rglob("scene.tif")
    before, expected = copy.read_bytes(), installation.answers(installation.run(scene))
    damage(copy)
    assert installation.answers(installation.run(scene)) == expected
    assert installation.module("services.tiler", tiled).code == 0
    assert copy.read_bytes() == before


def tear(body):
    return body[: len(body) // 2]


def empty(_body):
    return b""


def of_a_newer_swath(body):
    return json.dumps({**json.loads(body), "weather": "fair"}).encode()


def without_files(body):
    return json.dumps({**json.loads(body), "assets": []}).encode()


def of_another_place(body):
    (asset,) = json.loads(body)["assets"]
    return json.dumps({**json.loads(body), "assets": [{**asset, "href": "store:../scene.tif"}]}).encode()


@pytest.mark.parametrize("damage", [tear, empty, of_a_newer_swath, without_files, of_another_place])
def test_a_copys_record_that_says_nothing_is_not_missed_and_is_made_again(scene, settings, damage):
    with open_site(settings) as site:
        ingested = ingest_scene(site, [str(scene)], OpenOptions())
        ready = prepare_scene(site, ingested, tile_px=256)
        key = prepared_key(ingested.digest)
        site.store.put(key, damage(site.store.get(key)))
        assert prepared(ingested, site.store) is ingested
        assert prepare_scene(site, ingested, tile_px=256) == ready == prepared(ingested, site.store)


def test_two_names_of_one_file_share_the_copy_and_keep_their_names(scene, settings):
    other = scene.with_name("again.tif")
    other.write_bytes(scene.read_bytes())
    with open_site(settings) as site:
        first, second = (ingest_scene(site, [str(path)], OpenOptions()) for path in (scene, other))
        copy = prepare_scene(site, first, tile_px=256)
        shared = prepare_scene(site, second, tile_px=256)
    assert first.id != second.id
    assert (shared.id, shared.title, shared.assets) == (second.id, second.title, copy.assets)


def test_a_run_planned_on_a_copy_that_is_gone_says_what_makes_it_again(installation, scene, tiled):
    made = installation.run(scene)
    (copy,) = (installation.folder / "home" / "store" / "scenes").rglob("scene.tif")
    copy.unlink()
    answer = installation.swath("verify", made.json["run_id"])
    assert answer.code == 65
    assert f"python -m services.tiler {tiled}" in answer.err
    assert installation.module("services.tiler", tiled).code == 0
    assert installation.swath("verify", made.json["run_id"]).code == 0


def test_a_run_planned_from_the_file_is_resumed_from_the_file_after_tiling(installation, long_scene, undisturbed):
    process = installation.start_run(long_scene)
    run_id = installation.wait_for_units(process, 5)
    process.kill()
    process.communicate()
    scene_id = json.loads(installation.swath("scenes", "--json").out)["scenes"][0]["id"]
    installation.module("services.tiler", scene_id)
    answer = installation.swath("resume", run_id, "--json")
    assert answer.code == 0, answer.err
    assert installation.answers(answer) == undisturbed


def test_a_scene_the_catalog_does_not_know_cannot_be_tiled(installation):
    answer = installation.module("services.tiler", "nothing-0123456789")
    assert answer.code == 65
    assert "nothing-0123456789" in answer.sentence


def test_a_damaged_scene_is_refused_by_the_tiler_and_leaves_no_copy(installation, tmp_path):
    path = write_landsat(tmp_path / "damaged.tif")
    damage_block(path, 1, 1)
    scene_id = installation.swath("ingest", path, "--json").json["scenes"][0]["id"]
    answer = installation.module("services.tiler", scene_id)
    assert answer.code == 65
    assert str(path) in answer.sentence
    assert not list((installation.folder / "home").rglob("scene.json"))


@pytest.fixture
def site(installation):
    with open_site(installation.settings()) as opened:
        yield opened


def test_a_file_that_changes_while_it_is_tiled_leaves_no_copy(site, scene):
    ingested = ingest_scene(site, [str(scene)], OpenOptions())
    with pytest.raises(ObjectNotFoundError, match="has changed since it was ingested"):
        prepare_scene(site, ingested, tile_px=64, progress=lambda done: done == 1 or flip_a_byte(scene))
    assert list(site.store.list("")) == []


def test_a_file_that_was_another_for_a_moment_while_it_was_tiled_leaves_no_copy(site, scene):
    ingested, before = ingest_scene(site, [str(scene)], OpenOptions()), scene.read_bytes()
    with pytest.raises(StorageUnavailableError, match="was written to while it was copied"):
        prepare_scene(site, ingested, tile_px=64, progress=lambda _done: flip_a_byte(scene))
    assert (list(site.store.list("")), scene.read_bytes()) == ([], before)


def test_a_disk_that_fails_for_a_moment_is_no_damage_to_the_tiler(site, scene, monkeypatch):
    ingested, read, left = ingest_scene(site, [str(scene)], OpenOptions()), SceneReader.read_stored, iter([True])

    def fail_once(reader, window):
        if next(left, False):
            raise UnreadableSceneError(f"{scene} is damaged")
        return read(reader, window)

    monkeypatch.setattr(SceneReader, "read_stored", fail_once)
    assert prepare_scene(site, ingested, tile_px=64).assets[0].href.startswith("store:")


def test_a_disk_that_fails_while_a_scene_is_tiled_is_something_to_try_again(site, scene, monkeypatch):
    ingested = ingest_scene(site, [str(scene)], OpenOptions())

    def fail(_reader, _window):
        monkeypatch.setattr(files.hashlib, "file_digest", away)
        raise UnreadableSceneError(f"{scene} is damaged")

    def away(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(SceneReader, "read_stored", fail)
    with pytest.raises(StorageUnavailableError, match="Input/output error"):
        prepare_scene(site, ingested, tile_px=64)
    assert list(site.store.list("")) == []


def test_lineage_through_the_tilers_copy_names_the_files_that_the_bands_came_from(installation, tmp_path):
    pixels = make_pixels(LOOK)
    folder = tmp_path / "files"
    names = [f"x_{code}.tif" for code in ("B03", "B04", "B08")]
    for name, band in zip(names, pixels, strict=True):
        write_scene(folder / name, replace(LOOK, names=("",)), pixels=band[None])
    scene_id = installation.swath("ingest", folder, "--json").json["scenes"][0]["id"]
    assert installation.module("services.tiler", scene_id).code == 0
    run_id = installation.run(folder).json["run_id"]
    trace = installation.swath("lineage", run_id, "--lon", 3.001, "--lat", 45.15, "--json").json
    assert [Path(source["href"]).name for source in trace["sources"]] == names


def test_bands_of_several_types_mean_the_same_in_the_tilers_copy(installation, tmp_path):
    """uint16 and int16 lie in one int32 there; a score is still a share of what uint16 holds."""
    looks = {"a": ("uint16", 30000), "b": ("int16", 15000)}
    words = []
    for name, (dtype, value) in looks.items():
        look = Look(shape=(64, 64), names=(name,), dtype=dtype)
        path = write_scene(tmp_path / f"{name}.tif", look, pixels=np.full((1, 64, 64), value, dtype))
        words += [f"--band={name}={path}"]
    direct = installation.answers(installation.run(*words))
    scene_id = installation.swath("ingest", *words, "--json").json["scenes"][0]["id"]
    installation.forget()
    assert installation.swath("ingest", *words).code == 0
    assert installation.module("services.tiler", scene_id).code == 0
    assert installation.answers(installation.run(*words)) == direct


@pytest.mark.parametrize("nodata", [-9999, "nan"])
def test_a_nodata_value_that_the_files_type_lacks_is_no_trouble_to_the_tiler(installation, scene, tmp_path, nodata):
    item = tmp_path / "item.json"
    bands = [{"name": name, "nodata": nodata} for name in LOOK.names]
    asset = {"href": f"./{scene.name}", "type": "image/tiff; application=geotiff", "roles": ["data"], "bands": bands}
    about = {"type": "Feature", "stac_version": "1.1.0", "id": "x", "geometry": None, "links": []}
    item.write_text(json.dumps({**about, "properties": {"datetime": None}, "assets": {"image": asset}}))
    direct = installation.answers(installation.run(item))
    scene_id = installation.swath("ingest", item, "--json").json["scenes"][0]["id"]
    answer = installation.module("services.tiler", scene_id)
    assert answer.code == 0, answer.err
    assert installation.answers(installation.run(item)) == direct
