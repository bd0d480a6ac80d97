"""From what the user named to the files of one scene: a file, several, a folder, or a STAC item."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from services.core.errors import ObjectNotFoundError, RequestError, UnreadableSceneError
from services.core.names import public_href
from services.core.raster.bands import BandHint
from services.core.raster.folder import scan_folder
from services.core.raster.georef import Bounds
from services.core.raster.href import shown_href
from services.core.raster.item import ItemAsset, parse_item
from services.core.raster.sensors import common_name, parse_code
from services.core.storage.files import local_errors

Fetch = Callable[[str], Path]

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_REMOTE = ("s3://", "http://", "https://")
_ITEM_BYTES = 2**24
#: A Sentinel-2 product's folder, by whatever suffix copies of it go.
_PRODUCT = re.compile(r".*\.SAFE$|S2[A-Z]_MSIL\w+_N\d{4}_|S2[A-Z]_(?:OPER|USER)_PRD_MSIL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One file of a scene, at hand on this machine."""

    href: str  #: absolute path, or the URI it was fetched from
    path: Path
    hints: tuple[BandHint, ...] = ()
    crs: str | None = None  #: the item's, for a file that has none
    bounds: Bounds | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """All files of one scene, and what is said about it as a whole."""

    title: str
    source: str  #: as the user named it, without what may open it
    said: str  #: whatever names the sensor
    inputs: tuple[Input, ...]
    platform: str | None = None
    acquired_at: datetime | None = None


def gather_inputs(
    sources: Sequence[str], *, bands: Mapping[str, str], names: Sequence[str], fetch: Fetch | None
) -> Gathered:
    """Find the files of one scene; fetches remote ones.

    Args:
        sources: What the user named; empty with `bands`.
        bands: Name to file.
        names: Of the bands of a single file, in order.
        fetch: Brings a remote object; None: local only.

    Raises:
        RequestError: A combination that makes no sense.
        ObjectNotFoundError, UnreadableSceneError: Nothing usable there.
    """
    if bands:
        if sources or names:
            raise RequestError("name either a scene, or its bands one by one with --band NAME=FILE, not both")
        inputs = tuple(_local(uri, fetch, hints=(user_hint(name),)) for name, uri in bands.items())
        return _several(list(bands.values()), inputs)
    if not sources:
        raise RequestError("no scene given; name a file, a folder, an s3:// object or a STAC item")
    if len(sources) > 1:
        if names:
            raise RequestError("--bands names the bands of one file; use --band NAME=FILE for several")
        return _several(sources, tuple(_local(uri, fetch) for uri in sources))
    return _single(sources[0], names, fetch)


def _single(source: str, names: Sequence[str], fetch: Fetch | None) -> Gathered:
    one = _local(source, fetch)
    folder = _is_folder(one.path)
    item = None if folder else _read_item(one.path)
    if (item is not None or folder) and names:
        raise RequestError(f"--bands names the bands of a single file, and {shown_href(source)} is none")
    if item is not None:
        return _from_item(item, one, fetch)
    if folder:
        found = scan_folder(one.path)
        inputs = tuple(Input(href=str(path), path=path) for path in found)
        title = one.path.name.removesuffix(".SAFE")
        return Gathered(title=title, source=public_href(one.href), said=_said(found), inputs=inputs)
    hints = tuple(user_hint(name) for name in names)
    return Gathered(
        title=_stem(one.href),
        source=public_href(one.href),
        said=_said([one.path]),
        inputs=(Input(href=one.href, path=one.path, hints=hints),),
    )


def _several(sources: Sequence[str], inputs: tuple[Input, ...]) -> Gathered:
    return Gathered(
        title=_stem(inputs[0].href),
        source=" ".join(public_href(one.href) for one in inputs),
        said=_said([one.path for one in inputs]) + " " + " ".join(sources),
        inputs=inputs,
    )


def _from_item(value: Any, one: Input, fetch: Fetch | None) -> Gathered:
    item = parse_item(value, one.href)
    return Gathered(
        title=item.title,
        source=public_href(one.href),
        said=f"{item.title} {item.baseline}",
        inputs=tuple(_item_input(asset, fetch) for asset in item.assets),
        platform=item.platform,
        acquired_at=item.acquired_at,
    )


def _item_input(asset: ItemAsset, fetch: Fetch | None) -> Input:
    one = _local(asset.href, fetch)
    return Input(href=one.href, path=one.path, hints=asset.hints, crs=asset.crs, bounds=asset.bounds)


def _local(uri: str, fetch: Fetch | None, hints: tuple[BandHint, ...] = ()) -> Input:
    """A path made absolute, or a remote object fetched."""
    if not uri:  # as a path it would be the current folder: whatever lies there
        raise RequestError("a scene's name is empty; name a file, a folder, an s3:// object or a STAC item")
    if uri.startswith(_REMOTE):
        if fetch is None:
            raise RequestError(f"{shown_href(uri)} is remote, and only local files are read here; download it first")
        return Input(href=uri, path=fetch(uri), hints=hints)
    if "\0" in uri:
        raise ObjectNotFoundError(f"{uri!r} is not a path; check it")
    path = Path(uri).absolute()
    if _SCHEME.match(uri):
        raise RequestError(f"{shown_href(uri)} is neither a path nor an s3://, http:// or https:// address")
    return Input(href=str(path), path=path, hints=hints)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False  # said better when it is opened as a raster


def user_hint(name: str) -> BandHint:
    """A band code goes through the sensor's table; any other name stands as the user wrote it."""
    if common_name(name) is None and parse_code(name) is not None:
        return BandHint(alias=name)
    return BandHint(name=name, forced=True)


def _read_item(path: Path) -> Any:
    """The JSON in a file that begins like JSON, else None."""
    try:
        if not path.is_file():  # a pipe would wait for ever
            return None
        with path.open("rb") as file:
            if not file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
                return None
    except OSError:
        return None  # said better when it is opened as a raster
    with local_errors(str(path)), path.open("rb") as file:
        text = file.read(_ITEM_BYTES + 1)
    if len(text) > _ITEM_BYTES:
        raise UnreadableSceneError(f"{path} is larger than any STAC item; name the scene's own file")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise UnreadableSceneError(f"{path} begins like a STAC item but is not valid JSON; make it again") from exc


def _stem(href: str) -> str:
    return Path(urlsplit(href).path if "://" in href else href).stem


def _said(paths: Sequence[Path]) -> str:
    """File names and the product folder they lie in, which carries mission and processing baseline."""
    folders = {part for path in paths for part in path.parts if _PRODUCT.match(part)}
    return " ".join(sorted(folders) + [path.name for path in paths])
