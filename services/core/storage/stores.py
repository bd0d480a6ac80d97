"""What the rest of Swath needs from an object store, and how a URI becomes one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from services.core.settings import Settings
from services.core.storage.files import FileStore
from services.core.storage.keys import is_s3, parse_path, parse_s3
from services.core.storage.reader import RangeReader


class ObjectStore(Protocol):
    """Bytes by key. Safe to share between threads; not between processes that fork.

    Every method may raise RequestError (a key no store can hold), StorageRefusedError (credentials, bucket,
    permission) and StorageUnavailableError (no answer after all tries, or no space).
    A key must not be the folder of another: `a` beside `a/b` works in AWS alone.
    """

    uri: str  #: absolute folder path or s3:// URI; f"{uri}/{key}" names an object for `split_uri`

    def put(self, key: str, data: bytes) -> None:
        """Write one object whole: readers see the old one or the new one, and it outlives a crash from here on."""

    def put_file(self, key: str, path: Path) -> None:
        """Write one object from a local file, whole, without holding it in memory.

        Raises:
            ObjectNotFoundError: No such local file.
        """

    def get(self, key: str) -> bytes:
        """The whole object.

        Raises:
            ObjectNotFoundError: No such object.
        """

    def fetch(self, key: str, path: Path) -> None:
        """Copy one object to a local path, which appears only when it is complete; its folders are made.

        Raises:
            ObjectNotFoundError: No such object.
        """

    def open(self, key: str) -> RangeReader:
        """The object as a seekable file that reads only the ranges it is asked for; never a mix of two versions.

        Do not hand it to `rasterio.open` itself, which would first read all of it: see `RasterOpener`.

        Raises:
            ObjectNotFoundError: No such object.
        """

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""

    def size(self, key: str) -> int:
        """Bytes in the object.

        Raises:
            ObjectNotFoundError: No such object.
        """

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that begin with this text, in any order; complete objects only."""

    def delete(self, key: str) -> None:
        """Remove one object; one that is not there is fine."""


def open_store(uri: str, settings: Settings) -> ObjectStore:
    """The store at a folder path, `file://` or `s3://` URI. Makes no request and no folder yet.

    Raises:
        RequestError: The URI names no kind of store Swath knows.
        StorageRefusedError: The S3 settings cannot work: no such CA file, not a URL.
    """
    if is_s3(uri):
        from services.core.storage.s3 import connect  # boto3 takes 0.2 s to import; folders do not need it

        return connect(parse_s3(uri), settings)
    return FileStore(parse_path(uri))
