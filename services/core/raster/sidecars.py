"""What GDAL reads beside a raster, because of its name alone: which of it counts, and what GDAL must not be led to.

A mask is opened by whatever driver takes it: a VRT of that name would lead GDAL to any file or address. So it must be
seen to be a TIFF before GDAL looks. Nobody may ask a dataset for its `files` or overviews: a text in it
(`OVERVIEW_FILE`) says where those are, and GDAL goes there too.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from services.core.errors import UnreadableSceneError
from services.core.raster.sniff import known_driver, sniff_driver

_ERDAS = b"EHFA_HEADER_TAG"
_HEAD_BYTES = 4096


def masks(path: Path) -> tuple[Path, ...]:
    """The mask beside it, in either spelling that GDAL tries."""
    return _there(path.with_name(path.name + end) for end in (".msk", ".MSK"))


def metadata(path: Path) -> tuple[Path, ...]:
    """GDAL's own notes on it: nodata, scales, CRS, transform."""
    return _there([path.with_name(path.name + ".aux.xml")])


def placings(path: Path) -> tuple[Path, ...]:
    """World files and MapInfo's tables, which place a raster that does not say itself where it lies."""
    kind = path.suffix[1:]
    ends = (_world(kind), kind + "w", "wld", "tab")
    return _there(path.with_suffix(f".{cased}") for end in ends for cased in {end.lower(), end.upper()})


def remote_sidecars(href: str, path: Path) -> tuple[tuple[str, Path], ...]:
    """(address, place) of what may lie beside a remote file, and belongs beside its copy; three requests are enough.

    Args:
        href: Of the raster; a query stays as it is. One whose path ends in no file name with a suffix has none beside.
        path: Of its copy on this machine.
    """
    name, query = (href, "") if href.startswith("s3://") else _cut(href)
    kind = PurePosixPath(name).suffix[1:]
    if not kind:
        return ()
    world = _world(kind).upper() if kind.isupper() else _world(kind)
    return (
        *((f"{name}{end}{query}", path.with_name(path.name + end)) for end in (".msk", ".aux.xml")),
        (f"{name.removesuffix(kind)}{world}{query}", path.with_suffix(f".{world}")),
    )


def is_sidecar(path: Path) -> bool:
    """Whether it begins as its name says: some servers answer with a page where there is no file."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if path.suffix == ".msk":
        return known_driver(head) == "GTiff"
    if path.suffix == ".xml":
        return b"<PAMDataset" in head
    try:
        return len([float(number) for number in head.split()]) >= 6  # of a transform
    except ValueError:
        return False


def check_formats(path: Path) -> None:
    """Make sure that no other driver has a say when GDAL opens `path`.

    Raises:
        UnreadableSceneError: A mask that is no TIFF, or ERDAS's notes, which GDAL opens as a raster.
        ObjectNotFoundError, StorageRefusedError: A mask that is a dangling link, or may not be read.
    """
    for mask in masks(path):
        if sniff_driver(mask) != "GTiff":
            raise UnreadableSceneError(f"{mask} is not a GeoTIFF mask; remove it or make it again")
    for end in (".aux", ".AUX"):
        for notes in {path.with_name(path.name + end), path.with_suffix(end)}:
            if notes != path and _begins(notes, _ERDAS):
                raise UnreadableSceneError(
                    f"{notes} is an ERDAS Imagine file, which GDAL would read with {path.name}; move it away, and "
                    "write what it says of nodata and place into the scene, e.g. with gdal_edit"
                )


def _cut(url: str) -> tuple[str, str]:
    """Before and from the query or fragment on."""
    name = re.split(r"[?#]", url, maxsplit=1)[0]
    return name, url[len(name) :]


def _world(kind: str) -> str:
    """The end of a world file's name beside a file of this kind: `tfw` of `tif` and of `tiff`, `j2w` of `jp2`."""
    return f"{kind[:1]}{kind[-1:]}w"


def _there(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Dangling links too: what they named is missing. Names that are too long for a file are of none."""
    return tuple(path for path in paths if os.path.lexists(path))


def _begins(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError:  # what we cannot read, GDAL cannot
        return False
