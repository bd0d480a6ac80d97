"""Unfinished files: those of dead writers are removed, those of living ones never."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from services.core.storage import parts
from services.core.storage.files import FileStore

WRITER = """
import os, sys
from pathlib import Path
from services.core.storage.files import atomic_file
with atomic_file(Path(sys.argv[1]), durable=True) as file:
    file.write(b"half")
    file.flush()
    print(flush=True)
    sys.stdin.read()
"""
DAY_S = 24 * 3600


@pytest.fixture
def folder(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


def start_writer(folder: FileStore, key: str) -> "subprocess.Popen[bytes]":
    """A process that has written half of an object and waits for the end of its input."""
    command = [sys.executable, "-c", WRITER, f"{folder.uri}/{key}"]
    writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()
    return writer


def names_in(folder: FileStore) -> list[str]:
    return sorted(path.name for path in Path(folder.uri).iterdir())


def leave(folder: FileStore, name: str, *, age_s: float) -> None:
    path = Path(folder.uri, name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"half")
    os.utime(path, (time.time() - age_s,) * 2)


def test_what_a_killed_writer_left_is_removed_by_the_next_one(folder: FileStore) -> None:
    writer = start_writer(folder, "key")
    writer.kill()
    writer.communicate()
    assert len(names_in(folder)) == 1
    folder.put("key", b"whole")
    assert names_in(folder) == ["key"]


def test_what_a_living_process_writes_is_left_to_it(folder: FileStore) -> None:
    writer = start_writer(folder, "slow")
    folder.put("key", b"whole")
    assert len(names_in(folder)) == 2
    writer.communicate(timeout=30)
    assert writer.returncode == 0
    assert (names_in(folder), folder.get("slow")) == (["key", "slow"], b"half")


@pytest.mark.parametrize("machine", ["00000000-", ""], ids=["another machine", "an older version"])
@pytest.mark.parametrize(("age_s", "stays"), [(0, True), (2 * DAY_S, False)])
def test_where_a_lock_may_not_be_seen_only_what_was_long_untouched_is_removed(
    folder: FileStore, machine: str, age_s: float, stays: bool
) -> None:
    part = f".swath-{machine}0123456789abcdef"
    leave(folder, part, age_s=age_s)
    folder.put("key", b"whole")
    assert (part in names_in(folder)) is stays


def test_a_file_of_somebody_else_is_never_taken_for_unfinished(folder: FileStore) -> None:
    leave(folder, ".swath-notes", age_s=2 * DAY_S)
    folder.put("key", b"whole")
    assert names_in(folder) == [".swath-notes", "key"]


def test_a_file_system_without_locks_is_written_and_nothing_removed(
    folder: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lockless(_handle: int, _how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    leave(folder, f".swath-{parts._machine()}-0123456789abcdef", age_s=2 * DAY_S)
    monkeypatch.setattr(parts.fcntl, "flock", lockless)
    folder.put("key", b"whole")
    assert (folder.get("key"), len(names_in(folder))) == (b"whole", 2)


def test_a_part_taken_for_a_leftover_before_it_was_locked_is_made_again(
    folder: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, taken = parts.lock, list[Path]()

    def late(handle: int) -> bool:
        if not taken:
            taken.append(Path(f"/proc/self/fd/{handle}").readlink())
            taken[0].unlink()
        return lock(handle)

    monkeypatch.setattr(parts, "lock", late)
    folder.put("key", b"whole")
    assert (names_in(folder), folder.get("key"), len(taken)) == (["key"], b"whole", 1)
