"""Seekable reading of one object by ranges, for consumers that want a file."""

import io
from collections import OrderedDict
from collections.abc import Callable

from services.core.errors import RequestError, StorageUnavailableError, SwathError

BLOCK_BYTES = 2**20
CACHED_BLOCKS = 16

ReadRange = Callable[[int, int], bytes]


def changed_under_reader(name: str) -> StorageUnavailableError:
    """The error for an object that is no longer the one a reader opened."""
    return StorageUnavailableError(f"{name} was replaced while it was being read; open it again")


class RangeReader(io.RawIOBase):
    """One object as a seekable binary file; reads whole blocks and keeps the last 16 MiB of them.

    A read returns all bytes asked for, short only at the end. After the first failed read the reader
    stays failed: `error` keeps the reason, because consumers such as GDAL lose exceptions, and every
    later read raises it again at once instead of waiting through another round of retries.
    One reader belongs to one thread.
    """

    error: SwathError | None

    def __init__(
        self,
        read_range: ReadRange,
        size: int,
        *,
        name: str,
        head: bytes = b"",
        on_close: Callable[[], None] | None = None,
    ) -> None:
        """Read through `read_range(start, stop)`, which returns exactly these bytes or raises a SwathError.

        Args:
            read_range: Bytes of the half-open range [start, stop).
            size: Of the object, in bytes.
            name: The object's URI, for messages.
            head: The object's first bytes, if opening it already brought them.
            on_close: Called once, when the reader is closed or collected.
        """
        super().__init__()
        self.name = name
        self.error = None
        self._read_range = read_range
        self._size = size
        self._position = 0
        self._on_close = on_close
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._keep(0, head if len(head) == size else head[: len(head) // BLOCK_BYTES * BLOCK_BYTES])

    @property
    def size(self) -> int:
        """Bytes in the object."""
        return self._size

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Offset of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; past the end is allowed and reads nothing there.

        Raises:
            RequestError: Before the beginning.
        """
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise RequestError(f"{self.name}: cannot seek to {base + offset}, before the beginning")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        """Fill the buffer, short only at the end of the object.

        Raises:
            StorageUnavailableError: The store stopped answering, or the object was replaced since it was opened.
            StorageRefusedError: The store no longer lets us read it.
        """
        if self.error is not None:  # a fresh copy: raising one object for ever makes its traceback grow
            raise type(self.error)(str(self.error)) from self.error
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._size - self._position))
        stop = self._position + count
        try:
            self._fill(view, stop)
        except SwathError as exc:
            self.error = exc
            raise
        self._position = stop
        return count

    def readall(self) -> bytes:
        """Everything from here to the end, in few large ranges."""
        return self.read(max(0, self._size - self._position)) or b""

    def close(self) -> None:
        """Give back what the reader holds; twice is fine."""
        if not self.closed:
            self._blocks.clear()
            if self._on_close is not None:
                self._on_close()
        super().close()

    def _fill(self, view: memoryview, stop: int) -> None:
        """Copy [position, stop) into `view`, block by block."""
        at = self._position
        while at < stop:
            index, skip = divmod(at, BLOCK_BYTES)
            block = self._block(index, last=(stop - 1) // BLOCK_BYTES)
            piece = block[skip : skip + stop - at]
            view[at - self._position : at - self._position + len(piece)] = piece
            at += len(piece)

    def _block(self, index: int, *, last: int) -> bytes:
        """One block, from the cache or read together with its missing neighbours up to `last`."""
        if index not in self._blocks:
            end = index + 1
            while end <= last and end - index < CACHED_BLOCKS and end not in self._blocks:
                end += 1
            start, stop = index * BLOCK_BYTES, min(end * BLOCK_BYTES, self._size)
            fetched = self._read_range(start, stop)
            if len(fetched) != stop - start:
                raise changed_under_reader(self.name)
            self._keep(index, fetched)
        self._blocks.move_to_end(index)
        return self._blocks[index]

    def _keep(self, first: int, data: bytes) -> None:
        for offset in range(0, len(data), BLOCK_BYTES):
            self._blocks[first + offset // BLOCK_BYTES] = data[offset : offset + BLOCK_BYTES]
        while len(self._blocks) > CACHED_BLOCKS:
            self._blocks.popitem(last=False)
