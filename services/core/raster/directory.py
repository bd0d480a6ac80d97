"""Where a TIFF's internal mask ends. GDAL tells the places of an image's blocks, but not of its mask's.

Source: TIFF 6.0, section 2, https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf, and BigTIFF,
https://www.awaresystems.be/imaging/tiff/bigtiff.html.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_KIND, _REDUCED, _MASK = 254, 1, 4  # NewSubfileType and two of its bits
_OFFSETS, _LENGTHS = (273, 324), (279, 325)  # of strips, of tiles
_NUMBERS = {3: "u2", 4: "u4", 16: "u8"}

Entries = NDArray[Any]


def mask_end(file: BinaryIO, size: int) -> int:
    """One past the last byte of the mask of the full image; 0 without one.

    Args:
        file: A TIFF, open for reading.
        size: Its bytes.

    Raises:
        EOFError: The chain of its directories, or a list in one, leads beyond the end.
    """
    order = ">" if _bytes(file, size, 0, 2) == b"MM" else "<"
    big = 43 in _bytes(file, size, 2, 2)
    tiff = _Tiff(file=file, size=size, order=order, word="u8" if big else "u4", count="u8" if big else "u2")
    masks = (entries for entries in tiff.directories(8 if big else 4) if _is_mask(tiff, entries))
    return max((_end(tiff, entries) for entries in masks), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tiff:
    file: BinaryIO
    size: int
    order: str  #: `<` or `>`
    word: str  #: how offsets are written: eight bytes in a BigTIFF
    count: str  #: how the number of a directory's entries is

    def directories(self, start: int) -> Iterator[Entries]:
        """The entries of each; a chain that comes back to itself ends there, as in libtiff."""
        fields = {"tag": "u2", "type": "u2", "count": self.word}
        value = ("value", f"V{np.dtype(self.word).itemsize}")  # itself where it fits, else its place
        entry = np.dtype([*((name, self.order + kind) for name, kind in fields.items()), value])
        seen: set[int] = set()
        while (place := int(self.numbers(start, self.word, 1)[0])) and place not in seen:
            seen.add(place)
            count = int(self.numbers(place, self.count, 1)[0])
            first = place + np.dtype(self.count).itemsize
            start = first + count * entry.itemsize
            yield np.frombuffer(_bytes(self.file, self.size, first, count * entry.itemsize), entry)

    def numbers(self, place: int, kind: str, count: int) -> NDArray[Any]:
        """(count,) numbers from a place in the file."""
        dtype = np.dtype(self.order + kind)
        return np.frombuffer(_bytes(self.file, self.size, place, count * dtype.itemsize), dtype)

    def values(self, entries: Entries, *tags: int) -> NDArray[np.uint64]:
        """(n,) numbers under the first of these tags; none where it is missing."""
        for entry in entries[np.isin(entries["tag"], tags) & np.isin(entries["type"], list(_NUMBERS))]:
            kind, count = _NUMBERS[int(entry["type"])], int(entry["count"])
            inside = entry["value"].tobytes()
            if count * np.dtype(kind).itemsize <= len(inside):
                return np.frombuffer(inside, self.order + kind, count).astype(np.uint64)
            place = int(np.frombuffer(inside, self.order + self.word)[0])
            return self.numbers(place, kind, count).astype(np.uint64)
        return np.zeros(0, np.uint64)


def _is_mask(tiff: _Tiff, entries: Entries) -> bool:
    kind = int(tiff.values(entries, _KIND).sum())
    return bool(kind & _MASK) and not kind & _REDUCED


def _end(tiff: _Tiff, entries: Entries) -> int:
    offsets, lengths = tiff.values(entries, *_OFFSETS), tiff.values(entries, *_LENGTHS)
    ends = offsets[: len(lengths)] + lengths[: len(offsets)]
    # Each by itself too: nonsense wraps round when it is added.
    return max((int(numbers.max()) for numbers in (offsets, lengths, ends) if len(numbers)), default=0)


def _bytes(file: BinaryIO, size: int, place: int, count: int) -> bytes:
    if place + count > size:
        raise EOFError
    file.seek(place)
    return file.read(count)
