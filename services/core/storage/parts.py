"""Unfinished files, each locked by its writer: the lock dies with the process, so leftovers of the dead are known."""

import errno
import fcntl
import hashlib
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from services.core.storage.keys import PART_PREFIX

#: What network file systems answer to flock() where they have no locks.
_LOCKLESS = {errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}
#: Some share files between machines and keep locks to each: what another one writes is left alone for so long.
_FOREIGN_S = 24 * 3600
_PART = re.compile(re.escape(PART_PREFIX) + r"((?P<machine>[0-9a-f]{8})-)?[0-9a-f]{16}")


@contextmanager
def own_part(folder: Path) -> Iterator[Path]:
    """An empty unfinished file in `folder`, nobody else's until the block ends; gone where the block fails.

    Unfinished files there that no living process writes are removed, once in a process.
    """
    part, handle = _new_part(folder)
    try:
        _clear(folder)
        yield part
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)


def lock(handle: int) -> bool:
    """Lock an open file or folder until it is closed or this process is gone; False: there are no locks here.

    Raises:
        BlockingIOError: Another holds it.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        if exc.errno not in _LOCKLESS:
            raise
        return False
    return True


def _new_part(folder: Path) -> tuple[Path, int]:
    while True:
        part = folder / f"{PART_PREFIX}{_machine()}-{secrets.token_hex(8)}"
        handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with suppress(BlockingIOError):  # else another looks whether it is a leftover, or has just removed it as one
            lock(handle)
            if part.exists():
                return part, handle
        os.close(handle)
        part.unlink(missing_ok=True)


@lru_cache(maxsize=1024)
def _clear(folder: Path) -> None:
    for part in folder.glob(f"{PART_PREFIX}*"):
        named = _PART.fullmatch(part.name)
        if named:
            with suppress(OSError):  # it has a writer, is gone, or may not be removed
                _remove_dead(part, ours=named["machine"] == _machine())


def _remove_dead(part: Path, *, ours: bool) -> None:
    handle = os.open(part, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if lock(handle) and (ours or time.time() - os.fstat(handle).st_mtime > _FOREIGN_S):
            part.unlink()
    finally:
        os.close(handle)


@lru_cache(maxsize=1)
def _machine() -> str:
    """A few digits that all processes under this machine's kernel share, in containers too, and no others."""
    try:
        name = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        name = socket.gethostname()
    return hashlib.sha256(name.encode()).hexdigest()[:8]
