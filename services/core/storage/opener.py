"""Objects of a store for `rasterio.open(name, opener=…)`, where GDAL calls back into Python."""

import io
from pathlib import PurePosixPath

from services.core.errors import SwathError
from services.core.storage.keys import check_key
from services.core.storage.reader import RangeReader
from services.core.storage.stores import ObjectStore


class RasterOpener:
    """Serves one object and its named sidecars to GDAL; nothing else exists for it, and nothing is asked for.

    Use it so, and call `check` after *every* open and read, also the good ones::

        files = RasterOpener(store, key)
        with rasterio.open(files.name, opener=files) as dataset:
            pixels = dataset.read(window=...)
            files.check()

    Why: an exception inside a GDAL callback is lost, and with rasterio 1.4 it can crash the process
    (pending while GDAL goes on). So a failed read gives GDAL no bytes, which some drivers take for an
    early end of file; `check` then raises what really happened. A file-like object given to
    `rasterio.open` without an opener would be read whole into memory.
    """

    def __init__(self, store: ObjectStore, key: str, *, sidecars: tuple[str, ...] = ()) -> None:
        """Serve `key` and the keys of its sidecars (.msk, .tfw, .aux.xml), which share its folder.

        Without `sidecars`, GDAL's dozen guesses (.aux, .AUX, .xml, …) cost no request.
        """
        self.name = PurePosixPath(check_key(key)).name
        self._store = store
        self._keys = {PurePosixPath(known).name: known for known in (key, *sidecars)}
        self._errors: list[SwathError] = []

    def __call__(self, path: str, mode: str = "rb", **_: object) -> io.RawIOBase:
        """Open for GDAL.

        Raises:
            FileNotFoundError: Not ours to serve, for writing, or the store failed; then `check` knows.
        """
        key = self._keys.get(PurePosixPath(path).name)
        if key is None or mode not in {"r", "rb"}:
            raise FileNotFoundError(path)
        try:
            return _NeverRaises(self._store.open(key), self._errors)
        except SwathError as exc:
            self._errors.append(exc)
            raise FileNotFoundError(path) from exc

    def check(self) -> None:
        """Raise the first error the store gave since the beginning, if any.

        Raises:
            SwathError: What `ObjectStore.open` or a read of its reader raised.
        """
        if self._errors:
            first = self._errors[0]
            raise type(first)(str(first)) from first


class _NeverRaises(io.RawIOBase):
    """A reader that ends where the first read fails, and reports why to `errors`."""

    def __init__(self, reader: RangeReader, errors: list[SwathError]) -> None:
        super().__init__()
        self._reader = reader
        self._errors = errors

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._reader.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._reader.seek(offset, whence)

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        try:
            return self._reader.readinto(buffer)
        except SwathError as exc:
            self._errors.append(exc)
            return 0

    def close(self) -> None:
        self._reader.close()
        super().close()
