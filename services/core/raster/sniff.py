"""What kind of file this is, by its first bytes: said before GDAL sees it, so that a refusal can name the format."""

import errno
from pathlib import Path
from typing import Literal

from services.core.errors import ObjectNotFoundError, StorageRefusedError, UnreadableSceneError

Driver = Literal["GTiff", "JP2OpenJPEG"]

_OURS: tuple[tuple[bytes, Driver], ...] = (
    (b"II*\x00", "GTiff"),
    (b"MM\x00*", "GTiff"),
    (b"II+\x00", "GTiff"),  # BigTIFF
    (b"MM\x00+", "GTiff"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JP2OpenJPEG"),
    (b"\xff\x4f\xff\x51", "JP2OpenJPEG"),  # bare codestream
)
_OTHERS = (
    (b"GRIB", "GRIB"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89HDF\r\n\x1a\n", "HDF5"),
    (b"\x0e\x03\x13\x01", "HDF4"),
    (b"CDF\x01", "netCDF"),
    (b"CDF\x02", "netCDF"),
    (b"\x89PNG", "PNG"),
    (b"GIF8", "GIF"),
    (b"RIFF", "WebP"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"NITF", "NITF"),
    (b"EHFA_HEADER_TAG", "ERDAS Imagine"),
    (b"%PDF", "PDF"),
    (b"SIMPLE  =", "FITS"),
)
_READS = "Swath reads GeoTIFF, COG and JPEG 2000"


def sniff_driver(path: Path) -> Driver:
    """The GDAL driver that may open this file.

    Raises:
        ObjectNotFoundError: No such file.
        StorageRefusedError: Not permitted to read it.
        UnreadableSceneError: Not a regular file, empty, or in a format that Swath does not read.
    """
    head = _read_head(path)
    if not head:
        raise UnreadableSceneError(f"{path} is empty; fetch or make it again")
    driver = known_driver(head)
    if driver is None:
        raise UnreadableSceneError(
            f"{path} is {_describe(head)}; {_READS}, so convert it first, e.g. with gdal_translate"
        )
    return driver


def known_driver(head: bytes) -> Driver | None:
    """By the first bytes of a file; None: another format."""
    return next((driver for magic, driver in _OURS if head.startswith(magic)), None)


def is_raster(path: Path) -> bool:
    """Whether a file that is there begins like one that Swath reads."""
    return known_driver(_read_head(path)) is not None


def _describe(head: bytes) -> str:
    for magic, name in _OTHERS:
        if head.startswith(magic):
            return name
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"<VRTDataset"):
        return "a VRT"
    if text.startswith(b"<?xml"):
        return "XML"
    if b"\x00" not in head and all(byte >= 9 for byte in head):
        return "text"
    return "in no format known here"


def _read_head(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise UnreadableSceneError(f"{path} is a folder where a file is needed; name a file in it")
        if path.exists() and not path.is_file():
            raise UnreadableSceneError(f"{path} is not a regular file; copy its content into one")
        with path.open("rb") as file:
            return file.read(512)
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            raise ObjectNotFoundError(
                f"{path} is a symbolic link that leads back to itself; name the real file"
            ) from exc
        if isinstance(exc, PermissionError):
            raise StorageRefusedError(f"{path} may not be read by this user; change its permissions") from exc
        raise ObjectNotFoundError(f"{path}: no such file; check the path ({exc.strerror})") from exc
    except ValueError as exc:  # a null byte in the name
        raise ObjectNotFoundError(f"{str(path)!r} is not a path; check it") from exc
