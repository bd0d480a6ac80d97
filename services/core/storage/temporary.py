"""Folders that are gone when the work in them is done."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.core.storage.files import local_errors


@contextmanager
def temporary_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder in `parent`, which is made if need be, for the length of the block.

    Raises:
        StorageRefusedError: It cannot be made there.
        StorageUnavailableError: No space is left for it, or the disk does not answer.
    """
    with local_errors(str(parent), writing=True):
        parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True)
    with folder as name:
        yield Path(name)
