"""Bytes of a request to pixels of a network's bands: JPEG and PNG by libjpeg and Pillow, GeoTIFF by GDAL, in memory.

Pixels are taken as they are stored: no resampling to another size, no EXIF rotation, no colour profile; as the batch
engine reads a file.
"""

import io
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.api.chips import Picture
from services.api.costs import check_chunks, check_rows, check_scans, check_segments, check_tiff
from services.api.plain_jpeg import decode_plain, plain_size
from services.api.refusals import ImageError, TooLargeError
from services.api.sniff import Kind
from services.core.errors import SwathError
from services.core.grid import whole
from services.core.model.contract import Contract, Remedies
from services.core.model.preprocess import plan_normalisation
from services.core.raster.depth import png_depth
from services.core.raster.tiff_head import parse_directories
from services.core.records import Asset, Band, MaskKind, Scene

#: Pillow's and zlib's complaints about bytes that are not what they begin as.
_DAMAGE = (OSError, SyntaxError, ValueError, struct.error, zlib.error, IndexError, KeyError, EOFError, OverflowError)
#: Pixels up to which an image is decoded at once: a hop to another thread costs more.
_SMALL_PX = 2**16
_AS_TIFF = "send a GeoTIFF that has what the model needs"
_OF_PICTURES = Remedies(bands=_AS_TIFF, dtype=_AS_TIFF, scale=_AS_TIFF)
_OF_TIFFS = Remedies(
    bands="name its bands in their order, as in ?bands=B02,B03,B04, or send an image that has these",
    dtype="send what it was trained on",
    scale=(
        "set scale and offset in the file (gdal_edit.py -scale 0.0001), or send all 13 bands of Sentinel-2 with their "
        "names (?bands=B01,B02 and so on)"
    ),
    gsd="resample it first, or send an image of another sensor",
)


class PictureRules:
    """How one model looks at red, green and blue pictures: settled once, when the model is loaded."""

    def __init__(self, contract: Contract) -> None:
        Image.MAX_IMAGE_PIXELS = None  # ours is asked before a pixel is decoded, and differs by setting
        Image.preinit()  # else the first request pays for it
        self._contract = contract
        self._refusal: str | None = None
        scene = _picture_scene(contract)
        try:
            bands = contract.pick_bands(scene, remedies=_OF_PICTURES)
            self._norm = plan_normalisation(contract, bands)
            self._planes = [band.bidx - 1 for band in bands]
        except SwathError as exc:
            self._refusal = f"model {contract.name} does not take JPEG or PNG: {exc}"

    def decode_small(self, body: bytes, kind: Kind, *, max_pixels: int) -> Picture | None:
        """Decode a JPEG or PNG here and now; None: it is too large for that. Raises as `decode`."""
        return self._decode(body, kind, max_pixels=max_pixels, here_px=_SMALL_PX)

    def decode(self, body: bytes, kind: Kind, *, max_pixels: int) -> Picture:
        """Decode a JPEG or PNG.

        Raises:
            ImageError: Damaged, not in colour, too small, or not for this model.
            TooLargeError: More pixels than are looked at; found before any is decoded.
        """
        picture = self._decode(body, kind, max_pixels=max_pixels, here_px=max_pixels)
        assert picture is not None, "refused if larger"
        return picture

    def _decode(self, body: bytes, kind: Kind, *, max_pixels: int, here_px: int) -> Picture | None:
        if self._refusal is not None:
            raise ImageError(self._refusal)
        if kind == "JPEG" and (size := plain_size(body)) is not None:
            if not self._is_here(size, max_pixels=max_pixels, here_px=here_px):
                return None
            check_scans(body, size)
            if (plain := decode_plain(body)) is not None:
                return self._picture(plain, None)
        try:
            image = _open_checked(body, kind)
            if not self._is_here(image.size, max_pixels=max_pixels, here_px=here_px):
                return None
            return self._picture(*_read_colours(image, body, kind))
        except _DAMAGE as exc:
            raise ImageError(f"the {kind} is damaged or cut short; send it again") from exc

    def _is_here(self, size: tuple[int, int], *, max_pixels: int, here_px: int) -> bool:
        width, height = size
        check_size(width, height, least_px=self._contract.chip_px, max_pixels=max_pixels)
        return width * height <= here_px

    def _picture(self, colours: NDArray[np.uint8], valid: NDArray[np.bool_] | None) -> Picture:
        return Picture(colours.transpose(2, 0, 1)[self._planes], valid, self._norm)


def decode_tiff(body: bytes, contract: Contract, *, names: Sequence[str], max_pixels: int) -> Picture:
    """Decode a GeoTIFF: bands by name, scale and rendering by contract, as the batch engine does.

    Args:
        body: The file.
        contract: Of the model.
        names: Of its bands in order, where the file does not say.
        max_pixels: Checked before any pixel is decoded.

    Raises:
        SwathError: Damaged, too large, too small, or not what the model was made for.
    """
    # Most services never see one, and GDAL is a tenth of a second and forty megabytes.
    from services.core.raster.memory import open_image

    directories = parse_directories(body)
    height, width = directories[0].shape
    check_size(width, height, least_px=contract.chip_px, max_pixels=max_pixels)
    check_tiff(directories, max_pixels=max_pixels)
    with open_image(body, names=names) as image:
        scene = image.scene
        trusted = contract.gsd_m[0] if contract.gsd_m and not image.placed else None
        bands = contract.pick_bands(scene, gsd_m=trusted, remedies=_OF_TIFFS)
        with image.reader(bands) as reader:
            pixels, valid = reader.read(whole(scene.shape))
        return Picture(pixels, valid, plan_normalisation(contract, bands))


def check_size(width: int, height: int, *, least_px: int, max_pixels: int) -> None:
    """Refuse by the head alone.

    Raises:
        TooLargeError, ImageError: More pixels than are looked at; fewer than the network needs.
    """
    if width * height > max_pixels:
        raise TooLargeError(
            f"the image has {width} by {height} pixels; {max_pixels} in all are looked at in one request, so send a "
            "part of it, or map the scene with `swath run`"
        )
    if width < least_px or height < least_px:
        raise ImageError(
            f"the image has {width} by {height} pixels, and the model looks at {least_px} by {least_px}; "
            "send more ground, not an enlarged image"
        )


def _open_checked(body: bytes, kind: Kind) -> Image.Image:
    """Pillow's, once its head is known to have an end: Pillow reads that here, in Python, and pixels later."""
    if kind == "PNG":
        check_chunks(body)
    else:
        check_segments(body)
    image = Image.open(io.BytesIO(body), formats=(kind,))
    if kind == "JPEG":
        check_scans(body, image.size)
    return image


def _read_colours(image: Image.Image, body: bytes, kind: Kind) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    """(H, W, 3) of 8 bits, and where alpha lets a pixel through; None: everywhere."""
    _check_colours(image, body, kind)
    if kind == "PNG":
        check_rows(body)
    if "transparency" in image.info:
        image = image.convert("RGBA")
    elif image.mode == "P":
        image = image.convert("RGB")
    colours = np.asarray(image)
    if colours.shape[2] == 3:
        return colours, None
    valid = colours[..., 3] > 0
    return colours[..., :3], None if valid.all() else valid


def _check_colours(image: Image.Image, body: bytes, kind: Kind) -> None:
    """Refuse what is not red, green and blue of 8 bits: anything else would have to be guessed.

    Raises:
        ImageError: It is not.
    """
    if kind == "PNG" and png_depth(body).bits == 16:
        raise ImageError("the PNG has 16 bits a channel, and its scale is unknown; send a GeoTIFF, or 8 bits")
    if image.mode not in {"RGB", "RGBA", "P"}:
        names = {"L": "grey", "1": "black and white", "LA": "grey", "CMYK": "printing colours (CMYK)"}
        raise ImageError(
            f"the {kind} is in {names.get(image.mode, image.mode)}; the model looks at red, green and blue"
        )


def _picture_scene(contract: Contract) -> Scene:
    """A scene as a picture would be: three bands of 8 bits without scale, in pixels of a size nobody knows."""
    side = contract.chip_px
    unit = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    asset = Asset(
        href="the image",
        sha256="",
        size_bytes=0,
        driver="GTiff",
        shape=(side, side),
        block_shape=(side, side),
        transform=unit,
        mask=MaskKind.NONE,
    )
    return Scene(
        id="the-image",
        title="the image",
        source="the image",
        digest="",
        assets=(asset,),
        bands=tuple(
            Band(name=name, asset=0, bidx=at, dtype="uint8")
            for at, name in enumerate(("red", "green", "blue"), start=1)
        ),
        shape=(side, side),
        crs="",
        transform=unit,
        gsd_m=contract.gsd_m[0] if contract.gsd_m else 1.0,
    )
