"""A TIFF's directories as numbers, read without GDAL: it does not tell where a mask lies, nor what opening will cost.

Source: TIFF 6.0, section 2, https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf; BigTIFF,
https://www.awaresystems.be/imaging/tiff/bigtiff.html.
"""

import struct
from dataclasses import dataclass
from mmap import mmap

#: Whole numbers by type: how struct reads one; and the bytes of one value of any type.
_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


@dataclass(frozen=True, slots=True)
class Entry:
    """One fact of a directory."""

    kind: int
    count: int
    at: int  #: where its values stand


class Tiff:
    """Reads numbers of one TIFF or BigTIFF of either byte order. Every method: struct.error where the file ends."""

    def __init__(self, body: bytes | mmap) -> None:
        """Of a file in memory, or mapped."""
        self._body = body
        self._order = "<" if body[:2] == b"II" else ">"
        self._big = body[2:4] in {b"+\x00", b"\x00+"}

    @property
    def start(self) -> int:
        """Where the first directory is."""
        return self._offset(8 if self._big else 4)

    def count(self, at: int) -> int:
        """How many entries the directory at this place has."""
        return self._number("Q" if self._big else "H", at)

    def directory(self, at: int) -> tuple[list[tuple[int, Entry]], int]:
        """(tag, entry) of all of them, and where the next directory is; 0: nowhere."""
        size, inline = (20, 8) if self._big else (12, 4)
        count = self.count(at)
        at += 8 if self._big else 2
        if at + count * size > len(self._body):
            raise struct.error("the directory goes on beyond the end")
        end = at + count * size
        return [self._entry(here, size, inline) for here in range(at, end, size)], self._offset(end)

    def values(self, entry: Entry, most: int | None = None) -> tuple[int, ...]:
        """Its numbers, or the first of them; none where they are no whole numbers."""
        kind = _NUMBERS.get(entry.kind)
        if kind is None:
            return ()
        count = entry.count if most is None else min(entry.count, most)
        if entry.at + count * _BYTES[entry.kind] > len(self._body):
            raise struct.error("the list goes on beyond the end")
        return struct.unpack_from(f"{self._order}{count}{kind}", self._body, entry.at)

    def _entry(self, at: int, size: int, inline: int) -> tuple[int, Entry]:
        tag, kind = struct.unpack_from(self._order + "HH", self._body, at)
        count, place = self._offset(at + 4), at + size - inline
        if count * _BYTES.get(kind, 1) > inline:
            place = self._offset(place)
        return tag, Entry(kind, count, place)

    def _offset(self, at: int) -> int:
        return self._number("Q" if self._big else "I", at)

    def _number(self, kind: str, at: int) -> int:
        number: int = struct.unpack_from(self._order + kind, self._body, at)[0]
        return number
