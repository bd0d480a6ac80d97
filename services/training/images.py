"""Labelled images: a zip or folder with one folder per class, read whole into one array, and never extracted.

EuroSAT's layout is `EuroSAT_RGB/<Class>/<Class>_<n>.jpg`; any `<root>/<Class>/<file>` will do.
"""

import hashlib
import io
import json
import lzma
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.core.errors import ObjectNotFoundError, RequestError, StorageRefusedError, UnreadableSceneError
from services.core.machine import usable_cores
from services.core.raster.depth import read_depth

_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff"}
_MODES = {"RGB", "L", "P"}  #: 8 bits a band: what becomes RGB without a decision of ours
_BANDS = {1, 3}  #: grey or palette, and colours
_MOST_IMAGES = 1_000_000
_LARGEST_FILE = 2**25
_LARGEST_IMAGE_PX = 2**24  #: checked before decoding: a small file may unpack to anything
_MOST_PIXELS = 2**33  #: numbers in the whole array: 8 GiB
_PART = 256  #: images a thread reads at a time

_Decoded = NDArray[np.uint8]  #: (3, H, W)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledImages:
    """Images of one size, sorted by name, with the class of each."""

    pixels: NDArray[np.uint8]  #: (N, 3, H, W), red, green, blue
    labels: NDArray[np.int64]  #: (N,): index into `classes`
    classes: tuple[str, ...]  #: folder names, sorted
    names: tuple[str, ...]  #: `<Class>/<file>`
    digest: str  #: sha256 over the sorted (name, sha256 of the file); a zip and its folder have the same

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class _Listing:
    """What a source holds, before any image is read."""

    sizes: Mapping[str, int]  #: path of each image -> bytes
    folders: frozenset[str]  #: paths of all folders, empty ones included


@dataclass(frozen=True, slots=True)
class _Source:
    """Where images are listed and read; both kinds look alike from here on."""

    title: str
    listing: _Listing
    read: Callable[[str], bytes]  #: safe to call from threads


def read_labelled_images(source: Path) -> LabelledImages:
    """Read and decode every image of a zip or folder.

    Args:
        source: The zip, or the folder of class folders (or a folder that holds just that folder).

    Raises:
        ObjectNotFoundError: There is no such file or folder.
        RequestError: Not this layout; an empty class; images of several sizes; or more than fits.
        UnreadableSceneError: An image, or the zip itself, is damaged.
        StorageRefusedError: It may not be read.
    """
    with _opened(source) as found, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # images that large are refused in a sentence
        paths = _by_name(found)
        names = sorted(paths)
        if not names:
            raise RequestError(f"{found.title} holds no images; it must have one folder of JPEG, PNG or TIFF per class")
        classes = tuple(sorted({_class_of(name) for name in names}))
        first = _decode(found.read(paths[names[0]]), paths[names[0]])
        if first.size * len(names) > _MOST_PIXELS:
            raise RequestError(f"{found.title} holds {len(names)} images of {_side(first)} pixels, more than fit")
        pixels = np.empty((len(names), *first.shape), np.uint8)
        hashes = _fill(pixels, found, [paths[name] for name in names])
    table = json.dumps([list(pair) for pair in zip(names, hashes, strict=True)], separators=(",", ":"))
    labels = np.array([classes.index(_class_of(name)) for name in names], np.int64)
    digest = hashlib.sha256(table.encode("utf-8", "surrogateescape")).hexdigest()
    return LabelledImages(pixels=pixels, labels=labels, classes=classes, names=tuple(names), digest=digest)


def _fill(pixels: NDArray[np.uint8], found: _Source, paths: list[str]) -> list[str]:
    """Decode into (N, 3, H, W) in threads (Pillow lets go of the interpreter lock); returns each file's sha256."""

    def part(start: int) -> list[str]:
        hashes = []
        for index in range(start, min(start + _PART, len(paths))):
            body = found.read(paths[index])
            image = _decode(body, paths[index])
            if image.shape != pixels.shape[1:]:
                raise RequestError(
                    f"images of {found.title} differ in size: {paths[0]} has {_side(pixels[0])} pixels and "
                    f"{paths[index]} {_side(image)}; bring all to one size"
                )
            pixels[index] = image
            hashes.append(hashlib.sha256(body).hexdigest())
        return hashes

    with ThreadPoolExecutor(max_workers=usable_cores()) as pool:
        return [value for hashes in pool.map(part, range(0, len(paths), _PART)) for value in hashes]


def _decode(body: bytes, name: str) -> _Decoded:
    """One image as (3, H, W).

    Raises:
        RequestError: It stores something else than 8 bit colours or greys.
        UnreadableSceneError: It is damaged, or no JPEG, PNG or TIFF.
    """
    try:
        _check_depth(body, name)
        with Image.open(io.BytesIO(body), formats=("JPEG", "PNG", "TIFF")) as image:
            if image.mode not in _MODES:
                raise RequestError(f"image {name} stores {image.mode}, not 8 bit colours; convert it to RGB")
            if image.width * image.height > _LARGEST_IMAGE_PX:
                raise RequestError(f"image {name} has {image.width}x{image.height} pixels, which is no chip; cut it up")
            array = np.asarray(image.convert("RGB"))  # (H, W, 3)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError, UnreadableSceneError) as exc:
        raise UnreadableSceneError(f"image {name} is damaged, or no JPEG, PNG or TIFF; replace or remove it") from exc
    return array.transpose(2, 0, 1)  # (H, W, 3) -> (3, H, W)


def _check_depth(body: bytes, name: str) -> None:
    """Before Pillow has it, which calls many bands damage, and makes 8 bits of 16 as it likes."""
    depth = read_depth(body)
    if depth is None or (depth.bits <= 8 and depth.bands in _BANDS):
        return
    counted = "" if depth.bands in _BANDS else f"{depth.bands} bands of "
    raise RequestError(
        f"image {name} stores {counted}{depth.bits} bit numbers; write its red, green and blue in 8 bits, drawn as the "
        "pictures that the model is for"
    )


@contextmanager
def _opened(source: Path) -> Iterator[_Source]:
    if not source.exists():
        raise ObjectNotFoundError(f"no labelled images at {source}: neither a zip nor a folder")
    try:
        if source.is_dir():
            yield _Source(source.name or str(source), _list_folder(source), lambda path: (source / path).read_bytes())
            return
        with zipfile.ZipFile(source) as archive:
            yield _Source(source.name, _list_zip(archive), archive.read)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as exc:
        raise UnreadableSceneError(f"{source.name} is no intact zip ({exc}); fetch it again") from exc
    except (NotImplementedError, RuntimeError) as exc:
        raise RequestError(f"{source.name} cannot be read: it is encrypted, or packed in an unusual way") from exc
    except OSError as exc:
        raise StorageRefusedError(f"{source.name} cannot be read: {exc.strerror or exc}; see its permissions") from exc


def _list_folder(root: Path) -> _Listing:
    paths = sorted(root.rglob("*"))
    folders = frozenset(path.relative_to(root).as_posix() for path in paths if path.is_dir())
    files = [path for path in paths if path.is_file()]
    return _Listing({path.relative_to(root).as_posix(): path.stat().st_size for path in files}, folders)


def _list_zip(archive: zipfile.ZipFile) -> _Listing:
    """Sizes as the directory of the zip states them; more than that is never unpacked, and a lie is a bad checksum."""
    entries = [info for info in archive.infolist() if info.filename]  # zipfile stumbles over one without a name
    files = [info for info in entries if not info.is_dir()]
    sizes = {info.filename: info.file_size for info in files}
    if len(sizes) < len(files):
        raise RequestError(f"{Path(archive.filename or '').name} holds a file twice; pack it anew")
    folders = {info.filename.rstrip("/") for info in entries if info.is_dir()}
    return _Listing(sizes, frozenset(folders))


def _by_name(found: _Source) -> dict[str, str]:
    """`<Class>/<file>` -> path in the source, of every image.

    Raises:
        RequestError: Too many, too large, or not one folder per class.
    """
    sizes = {path: size for path, size in found.listing.sizes.items() if _is_image(path)}
    for path, size in sizes.items():
        if size > _LARGEST_FILE:
            raise RequestError(f"image {path} of {found.title} has {size} bytes; {_LARGEST_FILE} are allowed")
    if len(sizes) > _MOST_IMAGES:
        raise RequestError(f"{found.title} holds {len(sizes)} images; {_MOST_IMAGES} are allowed")
    roots = Counter(PurePosixPath(path).parent.parent.as_posix() for path in sizes)
    if len(roots) > 1 or any(len(PurePosixPath(path).parts) < 2 for path in sizes):
        raise RequestError(f"{found.title} is not one folder per class: images lie at several depths")
    if sizes:
        _check_classes(found, next(iter(roots)), sizes)
    return {"/".join(PurePosixPath(path).parts[-2:]): path for path in sizes}


def _check_classes(found: _Source, root: str, sizes: Mapping[str, int]) -> None:
    """Every folder beside a class folder must be a class: an empty one is a mistake that would change all labels."""
    full = {PurePosixPath(path).parent.name for path in sizes}
    beside = {PurePosixPath(path) for path in found.listing.folders}
    empty = sorted(p.name for p in beside if p.parent.as_posix() == root and p.name not in full and not _hidden(p))
    if empty:
        raise RequestError(f"class {empty[0]} of {found.title} holds no images; fill its folder or remove it")


def _is_image(path: str) -> bool:
    name = PurePosixPath(path)
    return name.suffix.lower() in _SUFFIXES and not _hidden(name)


def _hidden(path: PurePosixPath) -> bool:
    """What systems leave behind: `__MACOSX/`, `._name`, `.cache/`."""
    return any(part == "__MACOSX" or (part.startswith(".") and part != "..") for part in path.parts)


def _class_of(name: str) -> str:
    return name.partition("/")[0]


def _side(image: NDArray[np.uint8]) -> str:
    return f"{image.shape[2]}x{image.shape[1]}"
