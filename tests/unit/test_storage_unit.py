"""Object storage without a server: URIs, ranged reads, the disk's own failures, and what is imported when."""

import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.errors import (
    ObjectNotFoundError,
    RequestError,
    StorageRefusedError,
    StorageUnavailableError,
    SwathError,
)
from services.core.settings import Settings
from services.core.storage import ObjectStore, RangeReader, RasterOpener, check_store, open_store, split_uri
from services.core.storage.files import FileStore
from services.core.storage.keys import check_key, is_key, parse_s3
from services.core.storage.reader import BLOCK_BYTES, CACHED_BLOCKS
from services.core.storage.s3_errors import wait_s
from services.core.testing import MemoryStore

ARN = "arn:aws:s3-outposts:us-west-2:123456789012:outpost/op-01ac5d28a6a232904/accesspoint/swath"


@pytest.fixture
def folder(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("uri", "store", "key"),
    [
        ("/data/scenes/a b.tif", "/data/scenes", "a b.tif"),
        ("file:///data/a%20b.tif", "/data", "a b.tif"),
        ("file://localhost/data/x.tif", "/data", "x.tif"),
        ("/data/50%20off.tif", "/data", "50%20off.tif"),
        ("s3://bucket/x.tif", "s3://bucket", "x.tif"),
        ("s3://bucket/a/b%20c#d?e.tif", "s3://bucket", "a/b%20c#d?e.tif"),
        (f"s3://{ARN}/a/b.tif", f"s3://{ARN}", "a/b.tif"),
        (f"s3://{ARN.replace('/', ':')}/a/b.tif", f"s3://{ARN.replace('/', ':')}", "a/b.tif"),
    ],
)
def test_an_object_uri_is_split_into_store_and_key(uri: str, store: str, key: str):
    assert split_uri(uri) == (store, key)


def test_a_relative_path_is_read_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    assert split_uri("scenes/x.tif") == (str(tmp_path / "scenes"), "x.tif")
    assert open_store("out", Settings()).uri == str(tmp_path / "out")


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "\0",
        "http://host/x.tif",
        "gs://b/x",
        "file://other-host/x",
        "file://",
        "s3://bucket",
        "s3://bucket/",
        "/",
        "/a/..",
    ],
)
def test_a_uri_that_names_no_object_is_refused(uri: str):
    with pytest.raises(RequestError):
        split_uri(uri)


@given(uri=st.text(max_size=40))
def test_any_text_is_split_or_refused_and_joins_again(uri: str):
    for text in (uri, f"s3://{uri}", f"s3://bucket/{uri}", f"file:///{uri}"):
        try:
            store, key = split_uri(text)
        except RequestError:
            continue
        assert split_uri(f"{store}/{key}") == (store, key)


@given(key=st.text(max_size=20) | st.text(alphabet="./a\\\n-", max_size=8))
def test_a_key_that_passes_stays_inside_its_folder(key: str):
    if is_key(key):
        path = os.path.normpath(f"/store/{check_key(key)}")
        assert path == f"/store/{key}"


def test_outposts_are_recognised_by_arn_and_by_alias():
    alias = "swath-o01ac5d28a6a232904e8xz5w8ijx1qzlbp3i3kuse10--op-s3"

    assert parse_s3(f"s3://{ARN}/p").on_outposts
    assert parse_s3(f"s3://{alias}/p").on_outposts
    assert not parse_s3("s3://bucket/p").on_outposts


def _counting_reader(data: bytes) -> tuple[RangeReader, list[tuple[int, int]]]:
    ranges: list[tuple[int, int]] = []

    def read_range(start: int, stop: int) -> bytes:
        ranges.append((start, stop))
        return data[start:stop]

    return RangeReader(read_range, len(data), name="memory://object"), ranges


def test_neighbouring_blocks_come_in_one_range_and_only_once():
    data = os.urandom(5 * BLOCK_BYTES + 7)
    reader, ranges = _counting_reader(data)

    reader.seek(BLOCK_BYTES + 5)
    assert reader.read(2 * BLOCK_BYTES) == data[BLOCK_BYTES + 5 : 3 * BLOCK_BYTES + 5]
    reader.seek(2 * BLOCK_BYTES)
    reader.read(100)
    reader.seek(0)
    assert reader.read() == data

    mib = BLOCK_BYTES
    assert ranges == [(mib, 4 * mib), (0, mib), (4 * mib, len(data))]


def test_a_reader_keeps_sixteen_blocks_however_much_is_read():
    reader, ranges = _counting_reader(bytes(40 * BLOCK_BYTES))

    reader.read()

    assert len(reader._blocks) == CACHED_BLOCKS
    assert max(stop - start for start, stop in ranges) == CACHED_BLOCKS * BLOCK_BYTES


@given(data=st.data())
def test_a_reader_with_tiny_blocks_reads_like_a_file(data: st.DataObject):
    content = data.draw(st.binary(max_size=60))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("services.core.storage.reader.BLOCK_BYTES", 7)
        patch.setattr("services.core.storage.reader.CACHED_BLOCKS", 2)
        reader, ranges = _counting_reader(content)
        oracle = io.BytesIO(content)
        for offset, count in data.draw(st.lists(st.tuples(st.integers(0, 70), st.integers(-1, 70)), max_size=20)):
            assert reader.seek(offset) == oracle.seek(offset)
            assert reader.read(count) == oracle.read(count)
        assert all(start < stop <= len(content) for start, stop in ranges)


def test_a_reader_remembers_why_it_failed_and_asks_no_more():
    calls = []

    def read_range(start: int, stop: int) -> bytes:
        calls.append(start)
        raise StorageUnavailableError("gone away")

    reader = RangeReader(read_range, 10, name="memory://object")
    for _ in range(3):
        with pytest.raises(StorageUnavailableError, match="gone away"):
            reader.read(1)

    assert calls == [0]
    assert isinstance(reader.error, StorageUnavailableError)


def test_a_store_that_answers_too_little_is_an_error_not_an_end():
    reader = RangeReader(lambda start, stop: b"short", 100, name="memory://object")

    with pytest.raises(StorageUnavailableError, match="replaced"):
        reader.read(50)


def test_seeking_before_the_beginning_is_refused():
    reader, _ = _counting_reader(b"abc")

    with pytest.raises(RequestError, match="before the beginning"):
        reader.seek(-1)


def test_the_opener_serves_its_own_object_only():
    store = MemoryStore()
    store.put("s/scene.tif", b"pixels")
    store.put("s/scene.aux", b"not named")
    files = RasterOpener(store, "s/scene.tif")

    with files("/vsi/123/scene.tif", "rb") as served:
        assert (served.read(), served.tell(), served.seekable()) == (b"pixels", 6, True)
    for path, mode in (("/vsi/123/scene.aux", "rb"), ("test", "r"), ("/vsi/123/scene.tif", "wb")):
        with pytest.raises(FileNotFoundError):
            files(path, mode)
    files.check()


def test_waiting_grows_and_outlasts_a_restarted_pod():
    waits = [[wait_s(tries) for _ in range(200)] for tries in range(1, 8)]

    assert max(waits[0]) <= 0.05
    assert all(max(earlier) <= max(later) for earlier, later in pairwise(waits[:-1]))
    assert 32 < sum(min(wait) for wait in waits) < sum(max(wait) for wait in waits) <= 71


def test_boto3_is_imported_for_s3_only():
    code = "import sys, services.core.storage as s, services.core.settings as t; s.open_store('/tmp/x', t.Settings()); "
    code += "print([name for name in ('boto3', 'botocore', 'rasterio') if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("number", "error", "said"),
    [
        (errno.ENOSPC, StorageUnavailableError, "no space"),
        (errno.EDQUOT, StorageUnavailableError, "no space"),
        (errno.EIO, StorageUnavailableError, "try again"),
        (errno.ESTALE, StorageUnavailableError, "try again"),
        (errno.EACCES, StorageRefusedError, "permissions"),
        (errno.EROFS, StorageRefusedError, "mount"),
        (errno.EPERM, StorageRefusedError, "permissions"),
        (errno.EXDEV, StorageRefusedError, "permissions"),
    ],
)
def test_each_failure_of_the_disk_has_one_meaning(
    folder: FileStore, monkeypatch: pytest.MonkeyPatch, number: int, error: type[SwathError], said: str
):
    folder.put("a/key", b"old")

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(error, match=f"{folder.uri}/a/key.*{said}"):
        folder.put("a/key", b"new")

    assert folder.get("a/key") == b"old"
    assert names_in(Path(folder.uri, "a")) == ["key"]


FULL_DISK = """
import resource, sys
from pathlib import Path
from services.core.errors import StorageUnavailableError
from services.core.storage.files import FileStore
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
store = FileStore(Path(sys.argv[1]))
Path(sys.argv[2]).write_bytes(bytes(90_000))
for call in (lambda: store.put("key", bytes(200_000)), lambda: store.fetch("large", Path(sys.argv[2]))):
    try:
        call()
    except StorageUnavailableError as exc:
        print("unavailable", "no space" in str(exc))
"""


def test_a_file_that_does_not_fit_leaves_the_old_one(folder: FileStore, tmp_path: Path):
    folder.put("key", b"old")
    folder.put("large", bytes(200_000))

    command = [sys.executable, "-c", FULL_DISK, folder.uri, str(tmp_path / "copy")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["unavailable", "True"] * 2
    assert folder.get("key") == b"old"
    assert len((tmp_path / "copy").read_bytes()) == 90_000
    assert names_in(Path(folder.uri)) == ["key", "large"]


def test_a_writer_that_is_killed_leaves_the_old_object_and_shows_no_part(folder: FileStore):
    folder.put("key", b"old")
    code = "import os, sys; from pathlib import Path; from services.core.storage.files import atomic_file\n"
    code += (
        "with atomic_file(Path(sys.argv[1]), durable=True) as f: f.write(b'half'); f.flush(); os.kill(os.getpid(), 9)"
    )

    done = subprocess.run([sys.executable, "-c", code, f"{folder.uri}/key"], check=False)

    assert done.returncode == -9
    assert len(names_in(Path(folder.uri))) == 2
    assert (folder.get("key"), list(folder.list(""))) == (b"old", ["key"])


@pytest.mark.parametrize("root", ["a file", "/proc/swath", "/sys/swath", "/dev/null"])
def test_a_folder_that_cannot_be_written_is_refused(root: str, tmp_path: Path):
    (tmp_path / "a file").write_bytes(b"x")
    store = FileStore(tmp_path / root)

    with pytest.raises(StorageRefusedError, match=store.uri):
        store.put("a/key", b"x")
    findings = check_store(store)
    assert [finding.ok for finding in findings] == [False]
    assert findings[0].advice


def test_listing_a_file_as_a_store_is_refused(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"x")

    with pytest.raises(StorageRefusedError):
        list(FileStore(tmp_path / "file").list(""))


@pytest.mark.parametrize("make", [FileStore, lambda _: MemoryStore()], ids=["files", "memory"])
def test_one_object_cannot_be_the_folder_of_another(make: Callable[[Path], ObjectStore], tmp_path: Path):
    store = make(tmp_path)
    store.put("a/b", b"x")

    for key in ("a", "a/b/c"):
        with pytest.raises(StorageRefusedError):
            store.put(key, b"y")
    assert list(store.list("")) == ["a/b"]


def test_pipes_devices_and_folders_are_not_objects(folder: FileStore):
    folder.put("folder/key", b"x")
    os.mkfifo(f"{folder.uri}/pipe")
    Path(folder.uri, "zero").symlink_to("/dev/zero")

    for key in ("pipe", "zero", "folder"):
        for read in (folder.get, folder.open, folder.size):
            with pytest.raises(ObjectNotFoundError):
                read(key)
        assert not folder.exists(key)


def test_foreign_names_are_left_out_of_listings(folder: FileStore):
    folder.put("key", b"x")
    for name in (b"bad\xff", b"back\\slash", b"new\nline", b".swath-0123"):
        Path(os.fsdecode(os.fsencode(folder.uri) + b"/" + name)).touch()

    assert list(folder.list("")) == ["key"]


def test_a_file_rewritten_in_place_under_a_reader_is_noticed(folder: FileStore):
    folder.put("key", bytes(3 * BLOCK_BYTES))
    reader = folder.open("key")
    reader.read(1)
    with Path(folder.uri, "key").open("r+b") as file:
        file.write(b"somebody else")
    os.utime(f"{folder.uri}/key", ns=(1, 1))

    with pytest.raises(StorageUnavailableError, match="replaced"):
        reader.read(2 * BLOCK_BYTES)


def test_new_objects_get_the_modes_the_umask_allows(folder: FileStore):
    before = os.umask(0o027)
    try:
        folder.put("key", b"x")
    finally:
        os.umask(before)

    assert Path(folder.uri, "key").stat().st_mode & 0o777 == 0o640


def test_the_doctor_names_the_step_that_fails_and_what_to_do():
    class ForgetfulStore(MemoryStore):
        def get(self, key: str) -> bytes:
            return super().get(key)[:-1]

    findings = check_store(ForgetfulStore())

    assert [(finding.name, finding.ok) for finding in findings] == [
        ("store: write", True),
        ("store: read", False),
        ("store: delete", True),
    ]
    assert findings[1].advice
