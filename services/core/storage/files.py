"""Objects as files of one folder: written beside their place and renamed, so a reader never sees half of one."""

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from services.core.errors import (
    ObjectNotFoundError,
    RequestError,
    StorageRefusedError,
    StorageUnavailableError,
    SwathError,
)
from services.core.storage.keys import check_key, check_prefix, is_key
from services.core.storage.parts import own_part
from services.core.storage.reader import RangeReader, changed_under_reader

_MISSING = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_AWAY = {
    errno.EIO,
    errno.ESTALE,  # NFS server restarted
    errno.ETIMEDOUT,
    errno.EAGAIN,
    errno.EBUSY,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EPIPE,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.EREMOTEIO,
}


@contextmanager
def local_errors(subject: str, *, writing: bool = False) -> Iterator[None]:
    """Translate the operating system's errors about `subject`, a path."""
    try:
        yield
    except OSError as exc:
        raise local_meaning(exc, subject, writing=writing) from exc


def local_meaning(exc: OSError, subject: str, *, writing: bool) -> SwathError:
    """The Swath error for one of the operating system's; an unlisted one is a refusal, never a retry."""
    if exc.errno in _FULL:
        return StorageUnavailableError(f"{subject}: no space left on the disk, or a quota is used up; free some space")
    if exc.errno in _AWAY:
        return StorageUnavailableError(
            f"{subject}: the disk does not answer properly ({exc.strerror}); try again later"
        )
    if exc.errno == errno.ENAMETOOLONG:
        return RequestError(f"{subject}: the path is too long for this file system")
    if exc.errno in _MISSING and not writing:
        return ObjectNotFoundError(f"{subject}: no such file")
    if exc.errno in _MISSING | {errno.EEXIST}:
        return StorageRefusedError(f"{subject}: its folder cannot be made, or a folder has its name ({exc.strerror})")
    return StorageRefusedError(f"{subject}: {exc.strerror or 'refused'}; check owner, permissions and mount options")


@contextmanager
def atomic_file(path: Path, *, durable: bool) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` when the block ends well, and leaves nothing when it does not.

    Args:
        path: The final place; its folders are made.
        durable: Wait until file and name are on the disk: for what a database row will promise.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with own_part(path.parent) as part:  # same folder: a rename never crosses a mount
        with part.open("r+b") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    if durable:
        sync_path(path.parent)


def file_sha256(path: Path) -> str:
    """Digest of a file's bytes; while its size and time stay, they are read once, until `forget_digests`.

    Raises:
        ObjectNotFoundError, StorageRefusedError, StorageUnavailableError: It cannot be opened and read now.
    """
    with local_errors(str(path)), path.open("rb") as file:  # opened in any case: a file that may not be read is told
        return _sha256_of(path, _state(os.fstat(file.fileno())))


def file_state(path: Path) -> tuple[int, ...]:
    """What differs, without a look at its bytes, when something has written to a file or put another in its place.

    Raises:
        ObjectNotFoundError, StorageRefusedError, StorageUnavailableError: It cannot be told now.
    """
    with local_errors(str(path)):
        return _state(path.stat())


def _state(seen: os.stat_result) -> tuple[int, ...]:
    return seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns


def forget_digests() -> None:
    """Have `file_sha256` read everything again: a disk may fail without touching sizes and times."""
    _sha256_of.cache_clear()


@lru_cache(maxsize=256)
def _sha256_of(path: Path, _seen: tuple[int, ...]) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_path(path: Path) -> None:
    """Have the disk keep a file's bytes, or the names in a folder, before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_source(path: Path) -> Path:
    """The local file to upload.

    Raises:
        ObjectNotFoundError: No such file.
    """
    if not path.is_file():
        raise ObjectNotFoundError(f"{path}: no such file to store")
    return path


class FileStore:
    """An `ObjectStore` in a folder, which is made by the first write."""

    uri: str

    def __init__(self, root: Path) -> None:
        self._root = root
        self.uri = str(root)

    def put(self, key: str, data: bytes) -> None:
        """See `ObjectStore.put`."""
        path = self._path(key)
        with local_errors(str(path), writing=True), atomic_file(path, durable=True) as file:
            file.write(data)

    def put_file(self, key: str, path: Path) -> None:
        """See `ObjectStore.put_file`."""
        target = self._path(key)
        with local_errors(str(path)), check_source(path).open("rb") as source:
            _copy(source, target, durable=True)

    def get(self, key: str) -> bytes:
        """See `ObjectStore.get`."""
        with local_errors(str(self._path(key))):
            return self._regular(key).read_bytes()

    def fetch(self, key: str, path: Path) -> None:
        """See `ObjectStore.fetch`."""
        with local_errors(str(self._path(key))), self._regular(key).open("rb") as source:
            _copy(source, path, durable=False)

    def open(self, key: str) -> RangeReader:
        """See `ObjectStore.open`."""
        name = str(self._path(key))
        with local_errors(name):
            handle = os.open(self._regular(key), os.O_RDONLY | os.O_CLOEXEC)
        opened = os.fstat(handle)

        def read_range(start: int, stop: int) -> bytes:
            with local_errors(name):
                data = os.pread(handle, stop - start, start)
                now = os.fstat(handle)  # an atomic put leaves this file alone; somebody else may write into it
            if (now.st_size, now.st_mtime_ns) != (opened.st_size, opened.st_mtime_ns):
                raise changed_under_reader(name)
            return data

        return RangeReader(read_range, opened.st_size, name=name, on_close=lambda: os.close(handle))

    def exists(self, key: str) -> bool:
        """See `ObjectStore.exists`."""
        try:
            self.size(key)
        except ObjectNotFoundError:
            return False
        return True

    def size(self, key: str) -> int:
        """See `ObjectStore.size`."""
        with local_errors(str(self._path(key))):
            return self._regular(key).stat().st_size

    def list(self, prefix: str) -> Iterator[str]:
        """See `ObjectStore.list`."""
        start = self._root / check_prefix(prefix).rpartition("/")[0]
        with local_errors(self.uri, writing=True):
            if self._root.exists() and not self._root.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, "it is a file", self.uri)
            for folder, folders, names in os.walk(start, onerror=_raise_unless_gone):
                inside = "" if Path(folder) == self._root else f"{Path(folder).relative_to(self._root).as_posix()}/"
                folders[:] = [name for name in folders if _may_hold(f"{inside}{name}/", prefix)]
                keys = (f"{inside}{name}" for name in names)
                yield from (key for key in keys if key.startswith(prefix) and is_key(key))

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        path = self._path(key)
        try:
            with local_errors(str(path)):
                path.unlink(missing_ok=True)
        except ObjectNotFoundError:
            return

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _regular(self, key: str) -> Path:
        """The object's path; opening a pipe or device instead would block for ever."""
        path = self._path(key)
        if not stat.S_ISREG(path.stat().st_mode):
            raise ObjectNotFoundError(f"{path}: not a file")
        return path


def _copy(source: BinaryIO, target: Path, *, durable: bool) -> None:
    with local_errors(str(target), writing=True), atomic_file(target, durable=durable) as file:
        shutil.copyfileobj(source, file, 2**20)


def _may_hold(folder: str, prefix: str) -> bool:
    return folder.startswith(prefix) or prefix.startswith(folder)


def _raise_unless_gone(exc: OSError) -> None:
    if exc.errno not in _MISSING:  # never made, or removed while we walk: then it holds nothing
        raise exc
