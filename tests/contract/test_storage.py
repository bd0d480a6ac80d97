"""One suite for every kind of object store: the fake, a folder, and real S3 servers."""

import hashlib
import io
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.windows import Window

from services.core.errors import ObjectNotFoundError, RequestError, StorageUnavailableError
from services.core.storage import ObjectStore, RasterOpener, check_store

MIB = 2**20
WEIRD_KEYS = [
    "with space/and more.tif",
    "plus+and%percent%20/100%.json",
    "hash#query?a=b&c=d;e:f@g!$,'()*~[]{}|^`<>\"",
    "ü/Ünïcode/日本語/🛰.tif",
    "e\u0301-decomposed",
    ".hidden/..dots../trailing.",
    "-dash/_under/=equals=",
    "long/" + "x" * 255,
    "a" * 200 + "/" + "b" * 200 + "/" + "c" * 200,
]
IMPOSSIBLE_KEYS = [
    "",
    "/",
    "/absolute",
    "folder/",
    "a//b",
    ".",
    "..",
    "../up",
    "a/../b",
    "a/./b",
    "nul\0",
    "new\nline",
    "bell\x07",
    "back\\slash",
    "x" * 256,
    "ü" * 128,
    "/".join(["y" * 200] * 6),
    "lone\udc80surrogate",
    "a/.swath-0123456789abcdef",
]


@pytest.mark.parametrize("data", [b"", b"\0", bytes(range(256)) * 33], ids=["empty", "one zero byte", "binary"])
def test_what_is_put_comes_back(store: ObjectStore, data: bytes):
    store.put("runs/a/unit.npy", data)

    assert store.get("runs/a/unit.npy") == data
    assert store.size("runs/a/unit.npy") == len(data)
    assert store.exists("runs/a/unit.npy")


def test_a_second_put_replaces_the_first(store: ObjectStore):
    store.put("key", b"a longer first version")
    store.put("key", b"second")

    assert store.get("key") == b"second"
    assert list(store.list("")) == ["key"]


@pytest.mark.parametrize("key", ["absent", "there/absent", "there/object/below"])
def test_a_missing_object_is_named(store: ObjectStore, tmp_path: Path, key: str):
    store.put("there/object", b"x")

    for read in (store.get, store.open, store.size, lambda key: store.fetch(key, tmp_path / "copy")):
        with pytest.raises(ObjectNotFoundError, match=key):
            read(key)
    assert not store.exists(key)
    assert list(tmp_path.glob("copy*")) == []


def test_a_folder_of_objects_is_not_an_object(store: ObjectStore):
    store.put("folder/object", b"x")

    assert not store.exists("folder")
    with pytest.raises(ObjectNotFoundError):
        store.get("folder")


def test_delete_removes_and_a_missing_object_is_fine(store: ObjectStore):
    store.put("a/b", b"x")
    store.put("a/c", b"y")

    for key in ("a/b", "a/b", "never/there", "a", "a/c/d"):
        store.delete(key)

    assert list(store.list("")) == ["a/c"]


def test_a_listing_goes_by_the_beginning_of_the_key(store: ObjectStore):
    keys = ["a/1", "a/2/x", "ab/3", "b"]
    for key in keys:
        store.put(key, b"x")

    for prefix in ("", "a", "a/", "a/2", "a/2/", "a/2/x", "a/2/x/", "a/2/x/y", "absent/deep", "b", "b/", "c"):
        assert sorted(store.list(prefix)) == [key for key in keys if key.startswith(prefix)], prefix


def test_an_empty_store_lists_nothing(store: ObjectStore):
    assert list(store.list("")) == []


def test_a_listing_longer_than_a_page_is_whole(store: ObjectStore):
    keys = [f"units/{index:05d}" for index in range(1003)]  # S3 answers at most 1000 at a time
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put(key, b""), keys))

    assert sorted(store.list("units/")) == keys


def test_unusual_keys_are_kept_to_the_letter(store: ObjectStore, tmp_path: Path):
    for key in WEIRD_KEYS:
        store.put(key, key.encode())

    assert sorted(store.list("")) == sorted(WEIRD_KEYS)
    for key in WEIRD_KEYS:
        store.fetch(key, tmp_path / "copy")
        assert list(store.list(key)) == [key]
        assert store.get(key) == store.open(key).read() == (tmp_path / "copy").read_bytes() == key.encode()


def test_keys_no_store_can_hold_are_refused_by_every_method(store: ObjectStore, tmp_path: Path):
    (tmp_path / "source").write_bytes(b"x")
    more_arguments = {"put": (b"x",), "put_file": (tmp_path / "source",), "fetch": (tmp_path / "copy",)}

    for method in ("put", "put_file", "get", "fetch", "open", "exists", "size", "delete"):
        for key in IMPOSSIBLE_KEYS:
            with pytest.raises(RequestError, match="object key"):
                getattr(store, method)(key, *more_arguments.get(method, ()))


def test_prefixes_no_key_begins_with_are_refused(store: ObjectStore):
    for prefix in ("/", "/a", "../", "a//", "a/../b", "a\n"):
        with pytest.raises(RequestError):
            list(store.list(prefix))


def test_a_large_file_goes_up_and_down_unchanged(store: ObjectStore, tmp_path: Path):
    data = random.Random(1).randbytes(20 * MIB + 17)  # more than one part of a multipart upload
    (tmp_path / "source").write_bytes(data)

    store.put_file("scenes/large.tif", tmp_path / "source")
    store.fetch("scenes/large.tif", tmp_path / "new" / "folder" / "copy")

    assert store.size("scenes/large.tif") == len(data)
    assert hashlib.sha256((tmp_path / "new/folder/copy").read_bytes()).digest() == hashlib.sha256(data).digest()
    assert store.get("scenes/large.tif") == data
    assert [path.name for path in (tmp_path / "new/folder").iterdir()] == ["copy"]


def test_storing_a_file_that_is_not_there_says_so(store: ObjectStore, tmp_path: Path):
    with pytest.raises(ObjectNotFoundError, match="absent\\.tif"):
        store.put_file("key", tmp_path / "absent.tif")
    assert not store.exists("key")


def test_a_fetch_replaces_what_was_there(store: ObjectStore, tmp_path: Path):
    store.put("key", b"new")
    (tmp_path / "copy").write_bytes(b"old and longer")

    store.fetch("key", tmp_path / "copy")

    assert (tmp_path / "copy").read_bytes() == b"new"


def test_a_reader_reads_like_a_file(store: ObjectStore):
    dice = random.Random(2)
    for size in (0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB + 5):
        data = dice.randbytes(size)
        store.put("object", data)
        with store.open("object") as reader:
            oracle = io.BytesIO(data)
            for _ in range(40):
                offset, count = dice.randrange(size + 10), dice.choice([0, 1, 100, MIB, 2 * MIB + 3, -1])
                assert reader.seek(offset) == oracle.seek(offset)
                assert reader.read(count) == oracle.read(count)
                assert reader.tell() == oracle.tell()
            assert reader.seek(0, io.SEEK_END) == size == reader.size


def test_a_reader_never_mixes_two_versions(store: ObjectStore):
    old, new = b"o" * (5 * MIB), b"n" * (5 * MIB)
    store.put("object", old)
    reader = store.open("object")
    begun = reader.read(10)

    store.put("object", new)
    rest, error = b"", None
    try:
        rest = reader.read()
    except StorageUnavailableError as exc:
        error = exc

    assert set(begun + rest) == set(b"o")
    assert reader.error is error
    assert error is None or "replaced while it was being read" in str(error)
    assert store.open("object").read() == new


def test_writers_of_one_key_never_leave_a_mixture(store: ObjectStore):
    versions = [bytes([65 + index]) * (2 * MIB) for index in range(6)]
    store.put("object", versions[0])
    stop, torn = threading.Event(), []

    def read_until_stopped() -> None:
        while not stop.is_set():
            torn.extend(data[:9] for data in [store.get("object")] if data not in versions)

    with ThreadPoolExecutor(8) as pool:
        watcher = pool.submit(read_until_stopped)
        list(pool.map(lambda data: store.put("object", data), versions * 3))
        stop.set()
        watcher.result()

    assert torn == []
    assert store.get("object") in versions


def test_a_listing_shows_no_unfinished_object(store: ObjectStore, tmp_path: Path):
    (tmp_path / "source").write_bytes(bytes(20 * MIB))
    seen: set[str] = set()

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(store.put_file, "folder/object", tmp_path / "source")
        while not writing.done():
            seen.update(store.list(""))
        writing.result()

    assert seen <= {"folder/object"}


def test_the_doctor_finds_a_good_store_good(store: ObjectStore):
    findings = check_store(store)

    assert [finding.name for finding in findings if not finding.ok] == []
    assert {"store: write", "store: read", "store: list", "store: ranged read", "store: delete"} <= {
        finding.name for finding in findings
    }
    assert list(store.list("")) == []


@pytest.fixture
def cog(tmp_path: Path) -> Path:
    """A tiled raster with overviews and an internal mask, a few MiB, made by GDAL's COG driver."""
    path = tmp_path / "made" / "scene one.tif"
    path.parent.mkdir()
    pixels = np.random.default_rng(3).integers(0, 4000, (2, 1500, 1300), dtype=np.uint16)
    profile = {"driver": "GTiff", "width": 1300, "height": 1500, "count": 2, "dtype": "uint16", "crs": "EPSG:32631"}
    transform = rasterio.Affine(10, 0, 500000, 0, -10, 5000000)
    with rasterio.MemoryFile() as memory:
        with memory.open(**profile, transform=transform) as dataset:
            dataset.write(pixels)
            dataset.write_mask(pixels[0] > 100)
        rasterio.shutil.copy(memory.name, path, driver="COG", COMPRESS="DEFLATE", BLOCKSIZE=256)
    return path


def test_windows_of_a_raster_equal_a_local_read(store: ObjectStore, cog: Path):
    store.put_file("scenes/scene one.tif", cog)
    files = RasterOpener(store, "scenes/scene one.tif")
    window = Window(250, 500, 300, 270)  # crosses blocks on both axes

    with rasterio.open(cog) as local, rasterio.open(files.name, opener=files) as remote:
        assert (remote.crs, remote.transform, remote.overviews(1)) == (local.crs, local.transform, local.overviews(1))
        np.testing.assert_array_equal(remote.read(window=window), local.read(window=window))
        np.testing.assert_array_equal(remote.dataset_mask(window=window), local.dataset_mask(window=window))
        np.testing.assert_array_equal(remote.read(1, out_shape=(300, 260)), local.read(1, out_shape=(300, 260)))
    files.check()


def test_a_sidecar_mask_is_seen_only_when_named(store: ObjectStore, cog: Path):
    with rasterio.open(cog) as local:
        profile, pixels, mask = local.profile, local.read(), local.dataset_mask()
    plain = cog.with_name("plain.tif")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(plain, "w", **profile) as dataset:
        dataset.write(pixels)
        dataset.write_mask(mask)
    for path in (plain, plain.with_name("plain.tif.msk")):
        store.put_file(f"s/{path.name}", path)

    with_mask = RasterOpener(store, "s/plain.tif", sidecars=("s/plain.tif.msk",))
    with rasterio.open("plain.tif", opener=with_mask) as remote:
        np.testing.assert_array_equal(remote.dataset_mask(), mask)
    with rasterio.open("plain.tif", opener=RasterOpener(store, "s/plain.tif")) as remote:
        assert remote.dataset_mask().all()
    with_mask.check()


def test_a_raster_whose_object_is_gone_says_so(store: ObjectStore):
    files = RasterOpener(store, "absent.tif")

    with pytest.raises(rasterio.RasterioIOError):
        rasterio.open(files.name, opener=files)
    with pytest.raises(ObjectNotFoundError, match="absent"):
        files.check()


@pytest.mark.data
def test_windows_of_a_real_cog_equal_a_local_read(store: ObjectStore, data_dir: Path):
    path = data_dir / "scenes" / "mosaic_cog1.tif"
    store.put_file("mosaic_cog1.tif", path)
    files = RasterOpener(store, "mosaic_cog1.tif")

    with rasterio.open(path) as local, rasterio.open(files.name, opener=files) as remote:
        for _, window in local.block_windows(1):
            np.testing.assert_array_equal(remote.read(window=window), local.read(window=window))
    files.check()
