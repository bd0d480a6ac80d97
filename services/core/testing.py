"""Fakes that ship with Swath, for its tests and its users'."""

import threading
from collections.abc import Iterator
from pathlib import Path

from services.core.errors import ObjectNotFoundError, StorageRefusedError
from services.core.storage import ObjectStore, RangeReader
from services.core.storage.files import atomic_file, check_source, local_errors
from services.core.storage.keys import check_key, check_prefix


class MemoryStore:
    """An `ObjectStore` in a dictionary; as strict about keys as the strictest real store."""

    uri: str

    def __init__(self, uri: str = "memory://store") -> None:
        self.uri = uri
        self._objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def put(self, key: str, data: bytes) -> None:
        """See `ObjectStore.put`."""
        check_key(key)
        with self._lock:
            parents = {key[:at] for at, char in enumerate(key) if char == "/"}
            if parents & self._objects.keys() or any(other.startswith(f"{key}/") for other in self._objects):
                raise StorageRefusedError(f"{self.uri}/{key}: one object cannot be the folder of another")
            self._objects[key] = bytes(data)

    def put_file(self, key: str, path: Path) -> None:
        """See `ObjectStore.put_file`."""
        with local_errors(str(path)):
            self.put(key, check_source(path).read_bytes())

    def get(self, key: str) -> bytes:
        """See `ObjectStore.get`."""
        try:
            return self._objects[check_key(key)]
        except KeyError as exc:
            raise ObjectNotFoundError(f"{self.uri}/{key}: no such object") from exc

    def fetch(self, key: str, path: Path) -> None:
        """See `ObjectStore.fetch`."""
        data = self.get(key)
        with local_errors(str(path), writing=True), atomic_file(path, durable=False) as file:
            file.write(data)

    def open(self, key: str) -> RangeReader:
        """See `ObjectStore.open`; reads the bytes of this moment whatever is put later."""
        data = self.get(key)
        return RangeReader(lambda start, stop: data[start:stop], len(data), name=f"{self.uri}/{key}")

    def exists(self, key: str) -> bool:
        """See `ObjectStore.exists`."""
        return check_key(key) in self._objects

    def size(self, key: str) -> int:
        """See `ObjectStore.size`."""
        return len(self.get(key))

    def list(self, prefix: str) -> Iterator[str]:
        """See `ObjectStore.list`."""
        check_prefix(prefix)
        with self._lock:
            keys = [key for key in self._objects if key.startswith(prefix)]
        yield from keys

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        with self._lock:
            self._objects.pop(check_key(key), None)


_: type[ObjectStore] = MemoryStore
