"""Publishing, on the real writer, folders, and an S3 server."""

import fcntl
import json
import os
import resource
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pystac
import pytest
import rasterio
import shapely

from services.core.errors import (
    ConflictError,
    CoverageError,
    ObjectNotFoundError,
    RequestError,
    RunClaimedError,
    StorageRefusedError,
    StorageUnavailableError,
)
from services.core.product.manifest import parse_manifest
from services.core.product.outlet import StoreOutlet, open_outlet
from services.core.product.publish import check_out, publish, verify_files
from services.core.raster.open import OpenOptions, open_scene
from services.core.settings import Settings
from services.core.storage import open_store
from services.core.unit import MASKED
from tests.products import RUN_ID, make_blocks, make_run, make_spec
from tests.s3_server import available_kinds, run_s3_server

FILES = ["item.json", "manifest.json", "map.tif", "statistics.json", "tiles.parquet"]


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def put(out, tmp_path, settings):
    """Publish a spec into `out`."""

    def put(spec, blocks=None, *, to: str | None = None, using: Settings = settings, **more):
        blocks = make_blocks(spec) if blocks is None else blocks
        return publish(spec, blocks, out=to or str(out), settings=using, scratch=tmp_path / "scratch", **more)

    return put


@pytest.fixture(scope="module")
def s3():
    if not available_kinds():
        pytest.skip("no S3 server here: install versitygw or moto[server]")
    with run_s3_server() as server:
        yield server


@pytest.fixture
def bucket(s3, monkeypatch):
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return s3


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def file_size_limit(size_bytes: int):
    """Every file of this process ends here: what a full disk looks like."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("kind", ["threshold", "classification", "segmentation"])
def test_four_files_appear_and_nothing_else(put, out, tmp_path, kind):
    product = put(make_spec(kind))
    assert names(out) == [RUN_ID]
    assert names(out / RUN_ID) == FILES
    assert names(tmp_path / "scratch") == []
    assert product.href == str(out / RUN_ID)


def test_the_map_is_a_cog_in_its_place_with_colours_and_names(put, out):
    put(make_spec("segmentation", (700, 900)))
    with rasterio.open(out / RUN_ID / "map.tif") as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert (dataset.shape, dataset.nodata, dataset.crs.to_epsg()) == ((700, 900), 255, 32631)
        assert tuple(dataset.transform)[:6] == (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0)
        assert dataset.colormap(1)[1][:3] == (0, 0, 255)
        assert dataset.tags()["swath_model_digest"] == "c" * 64


@pytest.mark.parametrize("kind", ["threshold", "classification"])
def test_map_and_table_tell_the_same_story(put, out, kind):
    spec = make_spec(kind, (500, 600))
    put(spec)
    table = pq.read_table(out / RUN_ID / "tiles.parquet")
    value = {c.name: c.value for c in spec.contract.classes}
    with rasterio.open(out / RUN_ID / "map.tif") as dataset:
        pixels = dataset.read(1)
    step = 32 if kind == "threshold" else 1
    told = np.array([value[name] for name in table["class"].to_pylist()]).reshape(spec.grid.rows, spec.grid.cols)
    np.testing.assert_array_equal(pixels[::step, ::step], told)


def test_a_segmentation_map_holds_every_pixel(put, out):
    spec = make_spec("segmentation", (700, 900))
    put(spec)
    with rasterio.open(out / RUN_ID / "map.tif") as dataset:
        told = [pixels for block in make_blocks(spec) for _, pixels in block.pixels]
        np.testing.assert_array_equal(dataset.read(1), np.concatenate(told))


@pytest.mark.parametrize("kind", ["threshold", "classification", "segmentation"])
def test_map_and_table_are_the_same_bytes_for_another_run_of_the_same_work(put, out, kind):
    again = make_run(32, id="r-20270102T030405-ffffff", command="other", created_at=make_run(32).created_at)
    first = put(make_spec(kind, (700, 900)))
    spec = make_spec(kind, (700, 900), run=again, reused=7, code_version="0.1.0")
    second = put(spec, make_blocks(spec, unit_rows=5))
    same = ("map.tif", "tiles.parquet")
    assert [first.files[name] for name in same] == [second.files[name] for name in same]
    assert first.files["item.json"] != second.files["item.json"]


def test_a_missing_unit_publishes_nothing(put, out, tmp_path):
    blocks = list(make_blocks(make_spec()))[:-1]
    with pytest.raises(CoverageError, match="tile row 3 is missing"):
        put(make_spec(), blocks)
    assert not out.exists()
    assert names(tmp_path / "scratch") == []


def test_masked_tiles_are_named_in_item_and_manifest(put, out, settings):
    blocks = list(make_blocks(make_spec()))
    blocks[1].state[0, 2] = MASKED
    blocks[1].reasons["1,2"] = "block 3 is damaged"
    product = put(make_spec(), blocks)
    item = json.loads((out / RUN_ID / "item.json").read_text())
    assert item["properties"]["swath:coverage"]["masked_tiles"] == [[1, 2, "block 3 is damaged"]]
    assert parse_manifest((out / RUN_ID / "manifest.json").read_bytes(), "manifest.json").coverage == product.coverage


def test_publishing_again_keeps_the_product_that_stands(put, out):
    first = put(make_spec())
    before = (out / RUN_ID / "item.json").stat().st_ino
    again = put(make_spec(finished_at=make_run(32).created_at))
    assert again == first
    assert (out / RUN_ID / "item.json").stat().st_ino == before


@pytest.mark.parametrize("name", ["map.tif", "item.json", "manifest.json"])
@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"damaged"), Path.unlink], ids=["changed", "gone"])
def test_publishing_again_mends_a_damaged_product(put, out, settings, name, damage):
    put(make_spec())
    damage(out / RUN_ID / name)
    (out / RUN_ID / "notes.txt").write_text("mine")
    product = put(make_spec())
    assert verify_files(product, settings) == ()
    assert names(out) == [RUN_ID]
    assert names(out / RUN_ID) == sorted([*FILES, "notes.txt"])


@contextmanager
def every_step(out: Path, states: Path):
    """While inside, `out` is copied before each change of a name: what a process leaves that is killed there."""
    copying = False

    def stepwise(change):
        def step(*args, **named):
            nonlocal copying
            if not copying:
                copying = True
                shutil.copytree(out, states / f"{len(kept):02}")
                kept.append(states / f"{len(kept):02}")
                copying = False
            return change(*args, **named)

        return step

    kept: list[Path] = []
    out.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("mkdir", "rename", "replace", "rmdir", "unlink"):
            patch.setattr(os, name, stepwise(getattr(os, name)))
        yield kept


@pytest.mark.parametrize("gone", [["map.tif"], ["manifest.json"], sorted({*FILES} - {"manifest.json"})])
def test_a_mending_killed_at_any_step_is_done_again_and_touches_nothing_of_others(put, out, tmp_path, settings, gone):
    put(make_spec())
    for name in gone:
        (out / RUN_ID / name).unlink()
    (out / RUN_ID / "notes.txt").write_text("mine")
    later = make_spec(finished_at=make_run(32).created_at)
    with every_step(out, tmp_path / "states") as killed:
        put(later)
    assert len(killed) > 2 * len(FILES)
    for state in killed:
        shutil.rmtree(out)
        shutil.copytree(state, out)
        assert (out / RUN_ID / "notes.txt").read_text() == "mine"
        assert verify_files(put(later), settings) == ()
        assert names(out) == [RUN_ID]
        assert names(out / RUN_ID) == sorted([*FILES, "notes.txt"])


def test_a_publishing_killed_at_any_step_is_done_again(put, out, tmp_path, settings):
    with every_step(out, tmp_path / "states") as killed:
        put(make_spec())
    assert len(killed) > len(FILES)
    for state in killed:
        shutil.rmtree(out)
        shutil.copytree(state, out)
        assert verify_files(put(make_spec()), settings) == ()
        assert (names(out), names(out / RUN_ID)) == ([RUN_ID], FILES)


def test_another_product_under_the_same_run_is_not_overwritten(put, out, settings):
    first = put(make_spec())
    blocks = list(make_blocks(make_spec()))
    blocks[0].answers[:] = 0.5
    with pytest.raises(ConflictError, match="already holds another product"):
        put(make_spec(), blocks)
    assert verify_files(first, settings) == ()


def test_somebody_elses_folder_is_left_alone(put, out):
    (out / RUN_ID).mkdir(parents=True)
    (out / RUN_ID / "thesis.txt").write_text("mine")
    with pytest.raises(ConflictError, match="is already there and is not a product"):
        put(make_spec())
    assert names(out) == [RUN_ID]
    assert names(out / RUN_ID) == ["thesis.txt"]


def test_leftovers_of_a_killed_attempt_are_replaced(put, out):
    partial = out / f".{RUN_ID}.partial"
    (partial / "deep").mkdir(parents=True)
    (partial / "map.tif").write_bytes(b"half")
    put(make_spec())
    assert names(out) == [RUN_ID]
    assert names(out / RUN_ID) == FILES


def test_two_processes_do_not_publish_one_run_at_once(put, out):
    partial = out / f".{RUN_ID}.partial"
    partial.mkdir(parents=True)
    handle = os.open(partial, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(RunClaimedError, match="another process is publishing"):
        put(make_spec())
    os.close(handle)
    assert put(make_spec()).run_id == RUN_ID


def test_who_has_lost_the_claim_publishes_nothing(put, out):
    with pytest.raises(RunClaimedError, match="another process has taken over"):
        put(make_spec(), still_ours=lambda: False)
    assert not out.exists()


def test_a_disk_that_fills_up_leaves_nothing_behind(tmp_path, settings):
    folder = tmp_path / "scratch"
    folder.mkdir()
    for name in FILES:
        (folder / name).write_bytes(bytes(100_000))
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other_disk:  # so that moving means copying
        with file_size_limit(50_000), pytest.raises(StorageUnavailableError, match="no space left"):
            open_outlet(other_disk, settings).commit(RUN_ID, folder, replace=False)
        assert names(Path(other_disk)) == []


def test_scratch_that_fills_up_publishes_nothing(put, out, tmp_path):
    with file_size_limit(1_000), pytest.raises(StorageUnavailableError):
        put(make_spec())
    assert not out.exists()
    assert names(tmp_path / "scratch") == []


@pytest.mark.parametrize("place", ["file", "file/below", "/sys/swath"])
def test_an_out_that_cannot_be_written_is_refused_before_the_run(tmp_path, settings, place):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageRefusedError):
        check_out(str(tmp_path / place), settings)


def test_check_out_leaves_an_empty_folder(out, settings):
    check_out(f"file://{out}", settings)
    assert names(out) == []


def test_an_out_of_another_kind_is_refused(settings):
    with pytest.raises(RequestError, match="is not a place Swath reads"):
        check_out("gs://bucket/maps", settings)
    with pytest.raises(RequestError, match=r"S3:// is not a place .*in small letters"):
        check_out("S3://bucket/maps", settings)


@pytest.mark.parametrize("name", FILES)
def test_verify_names_the_file_that_changed(put, out, settings, name):
    product = put(make_spec())
    (out / RUN_ID / name).write_bytes((out / RUN_ID / name).read_bytes()[:-1] + b"?")
    assert verify_files(product, settings) == (name,)


@pytest.mark.parametrize("name", FILES)
def test_verify_names_the_file_that_is_gone(put, out, settings, name):
    product = put(make_spec())
    (out / RUN_ID / name).unlink()
    assert verify_files(product, settings) == (name,)


@pytest.mark.s3
def test_in_s3_the_product_is_complete_and_verified(put, bucket):
    uri = f"{bucket.uri}/maps"
    check_out(uri, bucket.settings())
    product = put(make_spec(), to=uri, using=bucket.settings())
    store = open_store(uri, bucket.settings())
    assert sorted(store.list("")) == [f"{RUN_ID}/{name}" for name in FILES]
    assert verify_files(product, bucket.settings()) == ()
    assert put(make_spec(), to=uri, using=bucket.settings()) == product


@pytest.mark.s3
def test_in_s3_a_damaged_product_is_mended(put, bucket):
    uri = f"{bucket.uri}/mended"
    product = put(make_spec(), to=uri, using=bucket.settings())
    open_store(uri, bucket.settings()).put(f"{RUN_ID}/map.tif", b"damaged")
    assert verify_files(product, bucket.settings()) == ("map.tif",)
    assert verify_files(put(make_spec(), to=uri, using=bucket.settings()), bucket.settings()) == ()


@pytest.mark.s3
def test_in_s3_a_failed_upload_is_taken_back(bucket, tmp_path):
    store = open_store(f"{bucket.uri}/failed", bucket.settings())
    for name in FILES[1:]:  # item.json is missing: map and table are up when the third put fails
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ObjectNotFoundError):
        StoreOutlet(store).commit(RUN_ID, tmp_path, replace=False)
    assert list(store.list("")) == []


@pytest.mark.s3
def test_in_s3_a_failed_upload_leaves_a_product_that_another_has_finished_meanwhile(put, bucket, tmp_path):
    uri = f"{bucket.uri}/twice"
    product = put(make_spec(), to=uri, using=bucket.settings())
    with pytest.raises(ObjectNotFoundError):  # there is nothing to upload
        StoreOutlet(open_store(uri, bucket.settings())).commit(RUN_ID, tmp_path, replace=False)
    assert verify_files(product, bucket.settings()) == ()


@pytest.mark.s3
def test_a_bucket_that_is_not_there_is_refused_before_the_run(bucket):
    with pytest.raises(StorageRefusedError):
        check_out("s3://no-such-bucket-here/maps", bucket.settings())


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    [
        "scenes/RGB.byte.tif",
        "scenes/mosaic_cog1.tif",
        "odd/cog_nonearth.tif",
        "odd/test_esri_wkt.tif",
        "odd/RGB2.byte.tif",
    ],
)
def test_a_real_scenes_map_lies_where_the_scene_lies(put, out, data_dir, name):
    scene = open_scene([str(data_dir / name)], options=OpenOptions(), fetch=None)
    put(make_spec("threshold", scene.shape, tile_px=64, scene=scene))
    item = pystac.Item.from_file(str(out / RUN_ID / "item.json"))
    with rasterio.open(data_dir / name) as source, rasterio.open(out / RUN_ID / "map.tif") as made:
        assert (made.crs, made.transform, made.shape) == (source.crs, source.transform, source.shape)
        geometry = pq.read_table(out / RUN_ID / "tiles.parquet")["geometry"].to_pylist()
        np.testing.assert_allclose(shapely.total_bounds(shapely.from_wkb(geometry)), source.bounds)
    assert (item.geometry is None) == (name == "odd/cog_nonearth.tif")
