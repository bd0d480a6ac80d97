"""Where `out` is, and how a product appears there all at once or not at all.

In a folder: the files are gathered in `.<run id>.partial/`, brought to the disk, and the folder is renamed. A damaged
product is made good in its place, file by file: what others have put beside its files is never touched.
In S3 there is no rename: the files are put one by one and `manifest.json` last. **It is the commit mark**: a reader
looks for it first, and a prefix without one is not a product.
"""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from services.core.errors import ConflictError, RunClaimedError, StorageRefusedError, SwathError
from services.core.names import product_key
from services.core.product.spec import FILES, MANIFEST
from services.core.settings import Settings
from services.core.storage import ObjectStore, open_store
from services.core.storage.files import local_errors, sync_path
from services.core.storage.keys import is_s3, parse_path
from services.core.storage.parts import lock

_PROBE = "swath-probe"
_TAKEN = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}


class Outlet(Protocol):
    """A place that receives products."""

    store: ObjectStore  #: to read what is there, as `<run id>/<file>`

    def prove(self) -> None:
        """Write and remove something.

        Raises:
            StorageRefusedError: Nothing can be written there.
            StorageUnavailableError: It is full, or does not answer.
        """

    def commit(self, run_id: str, folder: Path, *, replace: bool) -> None:
        """Move the product's files out of `folder` into place; `replace` a damaged product of the same run.

        Raises:
            ConflictError: Something else has the run's name there, or another process is publishing it.
            StorageRefusedError, StorageUnavailableError: Not published; nothing half-published stays.
        """

    def tidy(self, run_id: str) -> None:
        """Remove, where that is possible, what a process that was killed has left beside a product that is whole."""


def open_outlet(out: str, settings: Settings) -> Outlet:
    """The outlet at a folder path, `file://` or `s3://` URI; makes no request and no folder yet.

    Raises:
        RequestError: The URI names no place Swath knows.
    """
    store = open_store(out, settings)
    return StoreOutlet(store) if is_s3(out) else FolderOutlet(store, parse_path(out))


class FolderOutlet:
    """A local or mounted folder."""

    store: ObjectStore

    def __init__(self, store: ObjectStore, root: Path) -> None:
        self.store = store
        self._root = root

    def prove(self) -> None:
        """See `Outlet.prove`; takes every step that `commit` will take."""
        probe = self._root / f".{_PROBE}-{secrets.token_hex(6)}"
        moved = probe.with_suffix(".moved")
        with local_errors(str(self._root), writing=True):
            self._root.mkdir(parents=True, exist_ok=True)
            try:
                probe.mkdir()
                (probe / MANIFEST).write_bytes(b"{}")
                probe.rename(moved)
            finally:
                shutil.rmtree(probe, ignore_errors=True)
                shutil.rmtree(moved, ignore_errors=True)

    def commit(self, run_id: str, folder: Path, *, replace: bool) -> None:
        """See `Outlet.commit`."""
        final, partial = self._root / run_id, self._partial(run_id)
        with local_errors(str(final), writing=True), _claimed(partial):
            for name in FILES:
                shutil.move(folder / name, partial / name)
                sync_path(partial / name)
            sync_path(partial)
            if replace:
                _replace(partial, final)
            else:
                _rename(partial, final)
            sync_path(self._root)

    def tidy(self, run_id: str) -> None:
        """See `Outlet.tidy`."""
        partial = self._partial(run_id)
        with suppress(OSError, RunClaimedError):
            if partial.is_dir():
                with _claimed(partial):
                    partial.rmdir()

    def _partial(self, run_id: str) -> Path:
        """Where a product's files are gathered."""
        return self._root / f".{run_id}.partial"


class StoreOutlet:
    """A prefix of an S3 bucket."""

    store: ObjectStore

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    def prove(self) -> None:
        """See `Outlet.prove`; may leave an empty object `swath-probe` where deleting is not allowed."""
        self.store.put(_PROBE, b"")
        with suppress(StorageRefusedError):
            self.store.delete(_PROBE)

    def commit(self, run_id: str, folder: Path, *, replace: bool) -> None:
        """See `Outlet.commit`."""
        if replace:
            self.store.delete(product_key(run_id, MANIFEST))  # no product while its files change
        try:
            for name in FILES:
                self.store.put_file(product_key(run_id, name), folder / name)
        except BaseException:
            self._remove(run_id)
            raise

    def tidy(self, run_id: str) -> None:
        """See `Outlet.tidy`; what is put has its final key already."""

    def _remove(self, run_id: str) -> None:
        """Best effort; what stays has no mark, and the next attempt writes the same keys.

        Where a mark stands, the product is whole: another's, or ours and the answer to the last request was lost.
        """
        with suppress(SwathError):
            if not self.store.exists(product_key(run_id, MANIFEST)):
                for name in FILES:
                    self.store.delete(product_key(run_id, name))


@contextmanager
def _claimed(partial: Path) -> Iterator[None]:
    """An empty folder of this process's own, gone when the block fails; leftovers of a dead process are removed.

    The lock dies with the process, so nothing has to be cleaned up by hand after a crash.
    """
    partial.mkdir(parents=True, exist_ok=True)
    handle = os.open(partial, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(handle, partial)
        for leftover in partial.iterdir():
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        try:
            yield
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    finally:
        os.close(handle)


def _lock(handle: int, partial: Path) -> None:
    try:
        lock(handle)  # where there are no locks, the run's claim in the ledger must do
    except BlockingIOError as exc:
        raise RunClaimedError(f"another process is publishing into {partial.parent} this very run; try later") from exc
    if not partial.is_dir() or not os.path.samestat(os.fstat(handle), partial.stat()):
        raise RunClaimedError(f"another process has just published this run into {partial.parent}; try again")


def _replace(partial: Path, final: Path) -> None:
    """Each file in the place of the one that stands, the manifest last.

    Killed on the way, the product is still damaged, or whole: `publish` has made the map and table that the manifest
    there promises, if it can be read.
    """
    for name in FILES:
        (partial / name).replace(final / name)
    sync_path(final)
    partial.rmdir()


def _rename(partial: Path, final: Path) -> None:
    try:
        partial.rename(final)
    except OSError as exc:
        if exc.errno not in _TAKEN:
            raise
        raise ConflictError(f"{final} is already there and is not a product of this run; move it away") from exc
