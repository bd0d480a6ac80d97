"""A few bytes that would keep a decoder busy for minutes, or ask it for gigabytes, never get as far as one."""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from services.api.costs import check_tiff
from services.api.images import decode_tiff
from services.api.refusals import ImageError, TooLargeError
from services.core.errors import UnreadableSceneError
from services.core.raster.tiff_head import Directory
from tests.served import encode, make_pixels

MOST = 10**6
SHORT, LONG = 3, 4  # types of a TIFF's numbers
Entry = tuple[int, int, int, int]


def of_scans(side: int, scans: int, **options: object) -> bytes:
    """A progressive JPEG whose second scan, which says nothing, stands there so many times more."""
    body = encode(Image.new("RGB", (side, side), (90, 120, 60)), progressive=True, subsampling=0, **options)
    starts = [at for at in range(len(body)) if body[at : at + 2] == b"\xff\xda"]
    end = body.index(b"\xff", starts[1] + 2)
    return body[:end] + body[starts[1] : end] * scans + body[end:]


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(rows: bytes, *, side: int, others: bytes = b"", interlaced: bool = False) -> bytes:
    """A red, green and blue PNG of these filtered rows."""
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, interlaced)
    parts = [chunk(b"IHDR", head), others, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def plain_rows(pixels: NDArray[np.uint8]) -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in pixels)


def interlaced_rows(pixels: NDArray[np.uint8]) -> bytes:
    """As PNG's third edition orders them in its section 8.1."""
    passes = ((0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1))
    return b"".join(plain_rows(pixels[top::down, left::right]) for top, down, left, right in passes)


def tiff(*directories: Sequence[Entry], content: bytes) -> bytes:
    """A TIFF of these directories, one after the other; `content` stands at byte 8."""
    body = b"II*\0" + struct.pack("<I", 8 + len(content)) + content
    for number, entries in enumerate(directories, start=1):
        end = len(body) + 2 + 12 * len(entries) + 4
        packed = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
        onward = end if number < len(directories) else 0
        body += struct.pack("<H", len(entries)) + packed + struct.pack("<I", onward)
    return body


def raster(side: int, bands: int, length: int, *more: Entry) -> list[Entry]:
    """Of 8 bits in one deflated strip at byte 8, interleaved by pixel."""
    entries = {
        256: side, 257: side, 258: 8, 259: 8, 262: 1, 273: 8, 277: bands, 278: side, 279: length,
    }  # fmt: skip
    return [*((tag, LONG, 1, value) for tag, value in entries.items()), *more]


def test_a_jpeg_of_thousands_of_scans_is_refused_before_it_is_decoded(rules):
    with pytest.raises(ImageError, match="2010 scans"):
        rules.decode(of_scans(512, 2000), "JPEG", max_pixels=MOST)


def test_scans_are_counted_where_pillow_decodes_as_well(rules):
    with pytest.raises(ImageError, match="scans"):
        rules.decode(of_scans(512, 2000, keep_rgb=True), "JPEG", max_pixels=MOST)


def test_an_ordinary_progressive_jpeg_is_not_refused(rules):
    body = encode(make_pixels(side=512), progressive=True)
    assert rules.decode(body, "JPEG", max_pixels=MOST).pixels.shape == (3, 512, 512)


@pytest.mark.parametrize("filler", [b"\xff\xfe\0\x02", b"\xff" * 40, b"\xff\0"])
def test_a_jpeg_that_does_not_come_to_its_first_scan_is_refused(rules, filler):
    body = encode(make_pixels(), keep_rgb=True)
    with pytest.raises(ImageError, match="without an end"):
        rules.decode(body[:2] + filler * 2000 + body[2:], "JPEG", max_pixels=MOST)


def test_a_png_of_hundreds_of_colour_profiles_is_refused(rules):
    profile = chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**20)))
    body = png(plain_rows(make_pixels()), side=64, others=profile * 300)
    with pytest.raises(ImageError, match="more chunks"):
        rules.decode(body, "PNG", max_pixels=MOST)


def test_a_png_of_many_empty_pieces_is_refused(rules):
    body = png(plain_rows(make_pixels()), side=64, others=chunk(b"IDAT", b"") * 70_000)
    with pytest.raises(ImageError, match="more chunks"):
        rules.decode(body, "PNG", max_pixels=MOST)


@pytest.mark.parametrize("side", [64, 65, 71])
@pytest.mark.parametrize("interlaced", [False, True])
def test_a_whole_png_is_taken_and_one_without_its_last_byte_is_not(rules, side, interlaced):
    pixels = make_pixels(side=side)
    rows = interlaced_rows(pixels) if interlaced else plain_rows(pixels)
    picture = rules.decode(png(rows, side=side, interlaced=interlaced), "PNG", max_pixels=MOST)
    np.testing.assert_array_equal(picture.pixels, pixels.transpose(2, 0, 1))
    with pytest.raises(ImageError, match="last rows are missing"):
        rules.decode(png(rows[:-1], side=side, interlaced=interlaced), "PNG", max_pixels=MOST)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_palette_of_few_colours_has_rows_of_part_bytes(rules, bits):
    image = Image.fromarray(make_pixels(side=67)).quantize(2**bits)
    body = encode(image, "PNG", bits=bits)
    assert rules.decode(body, "PNG", max_pixels=MOST).pixels.shape == (3, 67, 67)


def test_hundreds_of_bands_in_one_strip_are_refused_by_the_head(contract):
    content = zlib.compress(bytes(100))
    with pytest.raises(TooLargeError, match="600000000 bytes"):
        decode_tiff(tiff(raster(1000, 600, len(content)), content=content), contract, names=(), max_pixels=MOST)


def test_a_mask_of_one_enormous_block_is_refused(contract):
    content = zlib.compress(bytes(3 * 64 * 64))
    mask = [(254, LONG, 1, 4), (256, LONG, 1, 64), (257, LONG, 1, 64), (258, LONG, 1, 1), (259, LONG, 1, 8)]
    mask += [(322, LONG, 1, 40_000), (323, LONG, 1, 40_000), (324, LONG, 1, 8), (325, LONG, 1, len(content))]
    body = tiff(raster(64, 3, len(content)), mask, content=content)
    with pytest.raises(TooLargeError, match="1600000000 bytes"):
        decode_tiff(body, contract, names=(), max_pixels=MOST)


def test_a_tiff_that_is_one_giant_block_is_refused_and_in_tiles_it_is_not():
    shape = (2048, 2048)
    strip = Directory(shape=shape, block_shape=shape, bands=13, value_bytes=2, shared=True)
    tiled = replace(strip, block_shape=(256, 256))
    assert strip.decoded_bytes == tiled.decoded_bytes == 13 * 2 * 2048**2
    check_tiff((tiled,), max_pixels=2048**2)
    with pytest.raises(TooLargeError, match="a block of the image unfolds to 109051904 bytes"):
        check_tiff((strip,), max_pixels=2048**2)


def test_a_tiff_of_thousands_of_bands_is_refused(contract):
    content = zlib.compress(bytes(64 * 64 * 2000))
    with pytest.raises(TooLargeError, match="2000 bands"):
        decode_tiff(tiff(raster(64, 2000, len(content)), content=content), contract, names=(), max_pixels=MOST)


@pytest.mark.parametrize(
    ("more", "times", "said"),
    [
        ([], 65, "64 directories"),  # each would be looked at, overviews in the square of their number
        ([(42112, 2, 300_000, 8)], 1, "300000 bytes of GDAL's metadata"),  # its items, too
        ([(1000 + at, SHORT, 1, 0) for at in range(600)], 1, "entries"),
        ([(256, LONG, 1, 8)], 1, "same thing twice"),
    ],
)
def test_a_tiff_whose_head_alone_would_take_minutes_is_refused(contract, more, times, said):
    content = zlib.compress(bytes(3 * 64 * 64))
    body = tiff(*[raster(64, 3, len(content), *more)] * times, content=content)
    with pytest.raises(UnreadableSceneError, match=said):
        decode_tiff(body, contract, names=(), max_pixels=MOST)
