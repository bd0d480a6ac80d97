"""Whether a file is all there, told from its index alone; a block damaged inside is found when it is read."""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from services.core.errors import UnreadableSceneError
from services.core.raster.tiff import Tiff

_KIND, _REDUCED, _MASK = 254, 1, 4  # a TIFF's NewSubfileType, and two of its bits
_BLOCKS = (273, 279), (324, 325)  # tags of the places and lengths of strips, and of tiles
_PLACES = {_KIND, *(tag for tags in _BLOCKS for tag in tags)}
_END_OF_CODESTREAM = b"\xff\xd9"


def check_blocks(dataset: Any, path: Path, *, sparse: bool = True, size_bytes: int | None = None) -> None:
    """Compare every block's place in a TIFF with the size of the file.

    Args:
        dataset: The open TIFF.
        path: Where it is.
        sparse: A block that was never written is no fault: it reads as nodata.
        size_bytes: Of the file, where it is none of the disk's.

    Raises:
        UnreadableSceneError: Some block lies beyond the end, or is missing.
    """
    size = path.stat().st_size if size_bytes is None else size_bytes
    down, right = dataset.block_shapes[0]
    rows, cols = -(-dataset.height // down), -(-dataset.width // right)
    # Interleaved by pixel, all bands share their blocks.
    shared = dataset.count == 1 or dataset.tags(ns="IMAGE_STRUCTURE").get("INTERLEAVE") == "PIXEL"
    for bidx in (1,) if shared else dataset.indexes:
        for row in range(rows):
            for col in range(cols):
                end = _block_end(dataset, bidx, row, col)
                if end > size or (end == 0 and not sparse):
                    raise UnreadableSceneError(
                        f"{path} is cut short or damaged: it has {size} bytes, and block ({row}, {col}) of band {bidx} "
                        f"would end at {end}; fetch or make it again"
                    )


def check_mask(path: Path) -> None:
    """Do for a TIFF's internal mask what `check_blocks` does for its bands: GDAL does not tell where its blocks are.

    Raises:
        UnreadableSceneError: Some block of the mask, or the list of what the file holds, lies beyond the end.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as body:
            end = _mask_end(Tiff(body))
    except struct.error as exc:
        raise UnreadableSceneError(
            f"{path} is cut short: its list of images and masks goes on beyond its end; fetch or make it again"
        ) from exc
    if end > size:
        raise UnreadableSceneError(
            f"{path} is cut short: it has {size} bytes, and its mask would end at {end}; fetch or make it again"
        )


def _mask_end(tiff: Tiff) -> int:
    """One past the last byte of the full image's mask; 0 without one. struct.error: the file ends before that is told.

    The chain of directories ends where it comes back to itself, as in libtiff.
    """
    end, at, seen = 0, tiff.start, {0}
    while at not in seen:
        seen.add(at)
        listed, at = tiff.directory(at)
        numbers = {tag: tiff.values(entry) for tag, entry in listed if tag in _PLACES}
        kind = sum(numbers.get(_KIND, ()))
        if kind & _MASK and not kind & _REDUCED:
            for offsets, lengths in _BLOCKS:
                ends = map(sum, zip(numbers.get(offsets, ()), numbers.get(lengths, ()), strict=False))
                end = max(end, *ends, *numbers.get(offsets, ()), 0)
    return end


def _block_end(dataset: Any, bidx: int, row: int, col: int) -> int:
    """Where a block ends in the file; 0 if it was never written."""
    offset = dataset.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", bidx=bidx)
    if offset is None:
        return 0
    length = dataset.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=bidx)
    return int(offset) + int(length or 0)


def check_codestream(path: Path) -> None:
    """Look for the marker that ends every JPEG 2000 codestream.

    Raises:
        UnreadableSceneError: It is not there.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        for start, end in _codestreams(file, size):
            file.seek(max(end - 2, start))
            if end > size or file.read(2) != _END_OF_CODESTREAM:
                raise UnreadableSceneError(
                    f"{path} is cut short: its JPEG 2000 codestream has no end; fetch or make it again"
                )


def _codestreams(file: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    """(start, end) of each codestream by walking the boxes; a bare codestream is the whole file."""
    if file.read(2) == b"\xff\x4f":
        yield 0, size
        return
    start, found = 0, False
    while start + 8 <= size:
        file.seek(start)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        end = size if length == 0 else start + length
        if kind == b"jp2c":
            found = True
            yield start, end
        if end < start + 8:
            break  # nonsense; leave it to OpenJPEG
        start = end
    if not found:
        yield 0, size + 1
