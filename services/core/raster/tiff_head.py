"""What decoding a TIFF would cost, by its directories: known before GDAL opens it.

GDAL walks every directory and every item of metadata while it opens a file, some of it in the square of their number:
three megabytes can hold it for minutes, and a mask of one block for gigabytes.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from services.core.errors import UnreadableSceneError
from services.core.raster.tiff import Entry, Tiff

#: Of one file, a dozen overviews and their masks included; and entries of one directory.
_MOST_DIRECTORIES, _MOST_ENTRIES = 64, 512
#: Of GDAL's own text about a file; statistics of hundreds of bands take a quarter of it.
_MOST_METADATA_BYTES = 2**18
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
    def block_bytes(self) -> int:
        """Of one block, with all bands that share it."""
        down, right = self.block_shape
        return down * right * self.value_bytes * (self.bands if self.shared else 1)

    @property
    def decoded_bytes(self) -> int:
        """Of all blocks, filled up as they are; of one band where each has its own."""
        return self.block_bytes * self.blocks // (1 if self.shared else self.bands)


def parse_directories(body: bytes) -> tuple[Directory, ...]:
    """All directories of a TIFF or BigTIFF, the image's first.

    Raises:
        UnreadableSceneError: Damaged, or with more in it than any image has.
    """
    try:
        return tuple(_directories(Tiff(body)))
    except (struct.error, ZeroDivisionError, KeyError) as exc:
        raise UnreadableSceneError("the image is a TIFF whose head is damaged or cut short; send it again") from exc


def _directories(tiff: Tiff) -> Iterator[Directory]:
    found, ahead = 0, [tiff.start]
    while ahead:
        if found == _MOST_DIRECTORIES:
            raise UnreadableSceneError(
                f"the image is a TIFF with more than {_MOST_DIRECTORIES} directories; send one image by itself"
            )
        found += 1
        entries, onward = _entries(tiff, ahead.pop())
        yield _directory(tiff, entries)
        below = entries.get(_SUBDIRECTORIES)
        ahead += [] if below is None else tiff.values(below, _MOST_DIRECTORIES + 1)
        ahead += [onward] if onward else []


def _entries(tiff: Tiff, at: int) -> tuple[dict[int, Entry], int]:
    """Entries by tag, and where the next directory is; 0: nowhere."""
    count = tiff.count(at)
    if count > _MOST_ENTRIES:
        raise UnreadableSceneError(f"the image is a TIFF with {count} entries in a directory; write it anew")
    listed, onward = tiff.directory(at)
    entries = dict(listed)
    if len(entries) != len(listed):  # GDAL may believe the other one
        raise UnreadableSceneError("the image is a TIFF that says the same thing twice; write it anew")
    return entries, onward


def _directory(tiff: Tiff, entries: Mapping[int, Entry]) -> Directory:
    text = entries.get(_GDAL_METADATA)
    if text is not None and text.count > _MOST_METADATA_BYTES:
        raise UnreadableSceneError(
            f"the image carries {text.count} bytes of GDAL's metadata, and {_MOST_METADATA_BYTES} are read; "
            "write it anew without them"
        )

    def first(tag: int, otherwise: int | None = None) -> int:
        """An entry's first number, 1 or more; KeyError: there is none, ZeroDivisionError: it is 0."""
        entry = entries.get(tag)
        if entry is None and otherwise is not None:
            return otherwise
        numbers = tiff.values(entries[tag], 1)
        if not numbers:
            raise KeyError(tag)
        if numbers[0] == 0:
            raise ZeroDivisionError(tag)
        return numbers[0]

    height, width = first(_HEIGHT), first(_WIDTH)
    tiled = _TILE_WIDTH in entries
    down, right = (first(_TILE_HEIGHT), first(_TILE_WIDTH)) if tiled else (first(_STRIP_ROWS, height), width)
    return Directory(
        shape=(height, width),
        block_shape=(down if tiled else min(down, height), right),
        bands=first(_SAMPLES, 1),
        value_bytes=-(-first(_BITS, 1) // 8),  # GDAL gives single bits a byte each
        shared=first(_PLANAR, 1) == 1,
    )
