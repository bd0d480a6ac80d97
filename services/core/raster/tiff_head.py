"""The directories of a TIFF, read without GDAL: what decoding it would cost has to be known before anything is.

GDAL walks every directory and every item of metadata while it opens a file, some of it in the square of their number:
three megabytes can hold it for minutes, and a mask of one block for gigabytes.

Source: TIFF 6.0, section 2; BigTIFF, https://www.awaresystems.be/imaging/tiff/bigtiff.html.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from services.core.errors import UnreadableSceneError

#: Of one file, a dozen overviews and their masks included; and entries of one directory.
_MOST_DIRECTORIES, _MOST_ENTRIES = 64, 512
#: Of GDAL's own text about a file; statistics of hundreds of bands take a quarter of it.
_MOST_METADATA_BYTES = 2**18
#: Whole numbers by type: how struct reads one.
_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_WIDTH, _HEIGHT, _BITS, _SAMPLES, _STRIP_ROWS, _PLANAR = 256, 257, 258, 277, 278, 284
_TILE_WIDTH, _TILE_HEIGHT, _SUBDIRECTORIES, _GDAL_METADATA = 322, 323, 330, 42112


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """One raster of the file: the image, a mask or an overview."""

    shape: tuple[int, int]
    block_shape: tuple[int, int]
    bands: int
    value_bytes: int  #: of one number, decoded
    shared: bool  #: whether the bands share their blocks, so that none is decoded without the others

    @property
    def blocks(self) -> int:
        """Of all bands together."""
        (height, width), (down, right) = self.shape, self.block_shape
        return -(-height // down) * -(-width // right) * (1 if self.shared else self.bands)

    @property
    def decoded_bytes(self) -> int:
        """Of all blocks, filled up as they are; of one band where each has its own."""
        down, right = self.block_shape
        each = down * right * self.value_bytes
        return self.blocks * each * self.bands if self.shared else self.blocks // self.bands * each


@dataclass(frozen=True, slots=True)
class _Entry:
    kind: int
    count: int
    at: int  #: where its values stand


def parse_directories(body: bytes) -> tuple[Directory, ...]:
    """All directories of a TIFF or BigTIFF, the image's first.

    Raises:
        UnreadableSceneError: Damaged, or with more in it than any image has.
    """
    try:
        return _Head(body).directories()
    except (struct.error, ZeroDivisionError, KeyError) as exc:
        raise UnreadableSceneError("the image is a TIFF whose head is damaged or cut short; send it again") from exc


class _Head:
    """Reads the numbers of one file; struct.error where it ends before one."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._order = "<" if body.startswith(b"II") else ">"
        self._big = body[2:4] in {b"+\x00", b"\x00+"}

    def directories(self) -> tuple[Directory, ...]:
        found: list[Directory] = []
        ahead = [self._offset(8 if self._big else 4)]
        while ahead:
            if len(found) == _MOST_DIRECTORIES:
                raise UnreadableSceneError(
                    f"the image is a TIFF with more than {_MOST_DIRECTORIES} directories; send one image by itself"
                )
            entries, onward = self._entries(ahead.pop())
            found.append(self._directory(entries))
            below = entries.get(_SUBDIRECTORIES)
            ahead += [] if below is None else self._values(below)
            ahead += [onward] if onward else []
        return tuple(found)

    def _entries(self, at: int) -> tuple[dict[int, _Entry], int]:
        """Entries by tag, and where the next directory is; 0: nowhere."""
        head, size, inline = ("Q", 20, 8) if self._big else ("H", 12, 4)
        count = self._number(head, at)
        if count > _MOST_ENTRIES:
            raise UnreadableSceneError(f"the image is a TIFF with {count} entries in a directory; write it anew")
        at += struct.calcsize("<" + head)
        entries = {}
        for here in range(at, at + count * size, size):
            tag, kind = struct.unpack_from(self._order + "HH", self._body, here)
            values = self._number("Q" if self._big else "I", here + 4)
            place = here + size - inline
            if values * _BYTES.get(kind, 1) > inline:
                place = self._offset(place)
            entries[tag] = _Entry(kind, values, place)
        if len(entries) != count:  # GDAL may believe the other one
            raise UnreadableSceneError("the image is a TIFF that says the same thing twice; write it anew")
        return entries, self._offset(at + count * size)

    def _directory(self, entries: Mapping[int, _Entry]) -> Directory:
        text = entries.get(_GDAL_METADATA)
        if text is not None and text.count > _MOST_METADATA_BYTES:
            raise UnreadableSceneError(
                f"the image carries {text.count} bytes of GDAL's metadata, and {_MOST_METADATA_BYTES} are read; "
                "write it anew without them"
            )
        height, width = self._first(entries, _HEIGHT), self._first(entries, _WIDTH)
        if _TILE_WIDTH in entries:
            block_shape = self._first(entries, _TILE_HEIGHT), self._first(entries, _TILE_WIDTH)
        else:
            block_shape = min(self._first(entries, _STRIP_ROWS, height), height), width
        return Directory(
            shape=(height, width),
            block_shape=block_shape,
            bands=self._first(entries, _SAMPLES, 1),
            value_bytes=-(-self._first(entries, _BITS, 1) // 8),  # GDAL gives single bits a byte each
            shared=self._first(entries, _PLANAR, 1) == 1,
        )

    def _first(self, entries: Mapping[int, _Entry], tag: int, otherwise: int | None = None) -> int:
        """An entry's first number, 1 or more.

        Raises:
            KeyError, ZeroDivisionError: There is none; it is 0.
        """
        entry = entries.get(tag)
        if entry is None:
            if otherwise is None:
                raise KeyError(tag)
            return otherwise
        number = self._number(_NUMBERS[entry.kind], entry.at)
        if number == 0:
            raise ZeroDivisionError(tag)
        return number

    def _values(self, entry: _Entry) -> list[int]:
        """Its first numbers, one more than there may be directories at most."""
        kind = _NUMBERS[entry.kind]
        each = struct.calcsize("<" + kind)
        return [self._number(kind, entry.at + each * step) for step in range(min(entry.count, _MOST_DIRECTORIES + 1))]

    def _offset(self, at: int) -> int:
        return self._number("Q" if self._big else "I", at)

    def _number(self, kind: str, at: int) -> int:
        number: int = struct.unpack_from(self._order + kind, self._body, at)[0]
        return number
