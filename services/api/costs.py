"""What an image would cost to decode beyond its pixels, and whether it has them: counted before a decoder sees it.

A few megabytes can hold a decoder for minutes, or make it ask for gigabytes, in an image of no unusual size. Nothing
stops a decoder that is under way, so what no honest file has is refused first.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from itertools import dropwhile, takewhile

from services.api.refusals import ImageError, TooLargeError
from services.core.raster.tiff_head import Directory

#: Progressive files have about ten; libtiff stops at as many as this.
_MOST_SCANS = 100
#: Bytes times pixels up to which scans are not counted: as many as fit there take half a millisecond.
_CHEAP = 2**25
#: Before a JPEG's first scan; each, and each byte of filling, is a turn of a loop in Python.
_MOST_SEGMENTS = 1000
_MARKER = re.compile(rb"\xff{1,16}([\xc0-\xfe])")
_SCAN = b"\xda"
#: Of a PNG, for pixels and for anything else: a colour profile of a thousand bytes may unfold to a million.
_MOST_DATA_CHUNKS, _MOST_OTHER_CHUNKS = 2**16, 256
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  #: of a pixel, by a PNG's colour type
_ONE_PASS = ((0, 1, 0, 1),)  #: first row and step, first column and step
#: Source: PNG (third edition), section 8.1.
_ADAM7 = ((0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1))
_INFLATED_AT_ONCE = 2**16  #: compressed bytes; a thousand times as many may come of them
#: Decoded for each pixel that may be looked at: the thirteen bands of Sentinel-2 in 16 bits take 26.
_TIFF_BYTES_PER_PX = 32
#: Of one block of a TIFF, which is held whole, twice: 2048 by 2048 pixels of eight bytes.
_MOST_BLOCK_BYTES = 2**25
#: Of a TIFF. Each block has to be looked up; a thousand rows of strips in a dozen bands are far fewer.
_MOST_BLOCKS, _MOST_BANDS = 2**16, 1024


def check_scans(body: bytes, size: tuple[int, int]) -> None:
    """Refuse a JPEG of very many scans: a dozen bytes are a pass over all of its pixels.

    Args:
        body: The JPEG.
        size: (width, height).

    Raises:
        ImageError: It has more than any encoder makes.
    """
    if len(body) * size[0] * size[1] <= _CHEAP:
        return
    scans = body.count(b"\xff" + _SCAN)  # compressed data never holds these two bytes
    if scans > _MOST_SCANS:
        raise ImageError(
            f"the JPEG has {scans} scans, and at most {_MOST_SCANS} are decoded; save it anew as a plain one"
        )


def check_segments(body: bytes) -> None:
    """Refuse a JPEG whose first scan stands behind very many segments, or behind what is none.

    Raises:
        ImageError: It does, or has no scan.
    """
    at = 2
    for _ in range(_MOST_SEGMENTS):
        marker = _MARKER.match(body, at)
        if marker is None:
            break
        if marker[1] == _SCAN:
            return
        at = marker.end() + int.from_bytes(body[marker.end() : marker.end() + 2], "big")
    raise ImageError("the head of the JPEG is damaged, cut short or without an end; save it anew and send it again")


def check_chunks(body: bytes) -> None:
    """Refuse a PNG of very many chunks.

    Raises:
        ImageError: It has more than any encoder makes.
    """
    data = others = 0
    for name, _ in _chunks(body):
        if name == b"IDAT":
            data += 1
        else:
            others += 1
        if data > _MOST_DATA_CHUNKS or others > _MOST_OTHER_CHUNKS:
            raise ImageError("the PNG is cut into more chunks than any image needs; save it anew and send it again")


def check_rows(body: bytes) -> None:
    """Refuse a PNG whose compressed data ends, as it should, but before the last row: Pillow leaves the rest black.

    Raises:
        ImageError: It does.
        zlib.error, struct.error: It is damaged.
    """
    missing, inflate = _png_bytes(body), zlib.decompressobj()
    after_head = dropwhile(lambda chunk: chunk[0] != b"IDAT", _chunks(body))
    for _, part in takewhile(lambda chunk: chunk[0] == b"IDAT", after_head):
        for start in range(0, len(part), _INFLATED_AT_ONCE):
            missing -= len(inflate.decompress(part[start : start + _INFLATED_AT_ONCE], missing))
            if missing <= 0:
                return
    raise ImageError("the PNG is damaged or cut short: its last rows are missing; send it again")


def check_tiff(directories: tuple[Directory, ...], *, max_pixels: int) -> None:
    """Refuse a TIFF whose image, masks or overviews are cut so that reading a part means decoding far more.

    Args:
        directories: Of all of them.
        max_pixels: Of one band, that may be looked at.

    Raises:
        TooLargeError: It would be more than such an image needs.
    """
    most = max_pixels * _TIFF_BYTES_PER_PX
    for each in directories:
        if each.decoded_bytes > most:
            raise TooLargeError(
                f"the image unfolds to {each.decoded_bytes} bytes, and {most} are decoded for one request; send a "
                "part of it, or only the bands that the model needs"
            )
        if each.block_bytes > _MOST_BLOCK_BYTES:
            raise TooLargeError(
                f"a block of the image unfolds to {each.block_bytes} bytes, and {_MOST_BLOCK_BYTES} are decoded at "
                "once; write it anew in tiles, or send only the bands that the model needs"
            )
        if each.blocks > _MOST_BLOCKS or each.bands > _MOST_BANDS:
            raise TooLargeError(
                f"the image is cut into {each.blocks} blocks of {each.bands} bands, more than are looked at in one "
                "request; write it anew with larger blocks, or only the bands that the model needs"
            )


def _chunks(body: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Names and contents up to the last one that has its length; the end of the image itself is left out."""
    view, at = memoryview(body), 8
    while at + 8 <= len(body):
        size, name = struct.unpack_from(">I4s", body, at)
        if name == b"IEND":
            return
        yield name, view[at + 8 : at + 8 + size]
        at += size + 12


def _png_bytes(body: bytes) -> int:
    """Of all rows, each with the byte that says how it was filtered."""
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", body, 16)
    total = 0
    for row, down, col, right in _ADAM7 if interlaced else _ONE_PASS:
        rows, cols = len(range(row, height, down)), len(range(col, width, right))
        if cols:
            total += rows * (1 + -(-cols * depth * _SAMPLES[colour] // 8))
    return total
