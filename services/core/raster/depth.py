"""Bands and bits of a picture by its head: Pillow drops the lower half of 16 bits without a word."""

from dataclasses import dataclass

from services.core.errors import UnreadableSceneError
from services.core.raster.tiff_head import parse_directories

_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_PNG_BANDS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  #: by its kind of colours


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """How a picture stores its numbers."""

    bands: int
    bits: int  #: of one number, as it is decoded: 12 stored ones become 16


def read_depth(body: bytes) -> Depth | None:
    """Of a PNG or TIFF; None: something else, and what Pillow opens of a JPEG has 8 bits.

    Raises:
        UnreadableSceneError: Its head is damaged.
    """
    if body.startswith(_PNG):
        return png_depth(body)
    if body.startswith(_TIFF):
        first = parse_directories(body)[0]
        return Depth(bands=first.bands, bits=8 * first.value_bytes)
    return None


def png_depth(body: bytes) -> Depth:
    """Of a PNG.

    Raises:
        UnreadableSceneError: Its head is damaged.

    Source: PNG, third edition, 11.2.1: IHDR comes first, https://www.w3.org/TR/png-3/#11IHDR.
    """
    if body[12:16] != b"IHDR" or len(body) < 26 or body[25] not in _PNG_BANDS:
        raise UnreadableSceneError("the PNG does not begin with its head; save it anew")
    return Depth(bands=_PNG_BANDS[body[25]], bits=body[24])
