"""Where a scene's bytes are: the user's file, a local copy of a remote one, or the tiler's COG in the store."""

import hashlib
import http.client
import string
import unicodedata
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from services.core.errors import ObjectNotFoundError, RequestError, StorageUnavailableError
from services.core.names import prepared_key, public_href
from services.core.raster.href import shown_href
from services.core.raster.open import Fetch, open_scene
from services.core.records import Asset, Band, Scene
from services.core.settings import Settings
from services.core.storage import ObjectStore, RasterOpener, open_store, split_uri
from services.core.storage.files import atomic_file, file_sha256, local_errors

#: Assets with this prefix are objects of the installation's own store: what the tiler made.
STORE_SCHEME = "store:"
_HTTP_TIMEOUT_S = 30
#: Bytes of a name that every file system takes, and the suffix of a sidecar behind it.
_LONGEST_NAME = 200
#: Answers below 500 that speak of now and not of the address: too slow, too early, too often.
_LATER = (408, 425, 429)


def cache_folder(settings: Settings) -> Path:
    """Local copies of remote files; may be emptied while nothing runs."""
    folder = settings.scratch_path / "cache"
    with local_errors(str(folder), writing=True):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def fetcher(settings: Settings, *, fresh: bool = False) -> Callable[[str], Path]:
    """A function that brings an s3:// or http(s):// object to a local file.

    Args:
        settings: Where the copies go.
        fresh: Fetch it even where a copy is: for ingest, because what an address names may have changed.
    """

    def fetch(uri: str) -> Path:
        _check_text(uri)
        target = cache_folder(settings) / hashlib.sha256(uri.encode()).hexdigest()[:16] / _file_name(uri)
        if target.is_file() and not fresh:
            return target
        if uri.startswith("s3://"):
            store_uri, key = split_uri(uri)
            open_store(store_uri, settings).fetch(key, target)
        elif uri.startswith(("http://", "https://")):
            _download(uri, target)
        else:
            raise RequestError(f"{shown_href(uri)} is neither a path nor an s3://, http:// or https:// address")
        return target

    return fetch


def fetcher_once(settings: Settings) -> Fetch:
    """`fetcher` for one command: it fetches every address anew, and only once however often it is asked."""
    return cache(fetcher(settings, fresh=True))


def at_hand(uri: str, fetch: Fetch) -> Path:
    """A file's path; of a remote one, of its copy."""
    return fetch(uri) if "://" in uri else Path(uri)


def open_at_hand(source: str, fetch: Fetch | None = None) -> Scene:
    """The scene that ingest would make, of the same digest, with the paths of local copies for its remote files.

    For work on a scene that no catalog keeps. Raises as `open_scene` does.
    """
    copies: dict[str, str] = {}

    def keep(uri: str) -> Path:
        assert fetch is not None, "open_scene asks for no remote file then"
        path = fetch(uri)
        copies[uri] = str(path)
        return path

    scene = open_scene([source], fetch=keep if fetch else None)
    assets = tuple(asset.model_copy(update={"href": copies.get(asset.href, asset.href)}) for asset in scene.assets)
    return scene.model_copy(update={"assets": assets})


def _file_name(uri: str) -> str:
    """What it is called, as bands and dates are told by that; its end, where a file system would find it too long."""
    name = Path(uri.split("?", 1)[0]).name or "object"
    return name.encode()[-_LONGEST_NAME:].decode(errors="ignore")


def _check_text(uri: str) -> None:
    """Control characters would end the request's line, and halves of characters have no bytes."""
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in uri):
        raise RequestError(f"{shown_href(uri)} has a character that no address may have; check it")


def _download(url: str, target: Path) -> None:
    what, address = shown_href(url), _request_url(url)
    with _network_errors(what):
        answer = urllib.request.urlopen(address, timeout=_HTTP_TIMEOUT_S)  # noqa: S310  # scheme checked by the caller
    with answer, local_errors(str(target), writing=True), atomic_file(target, durable=False) as file:
        for piece in _pieces(answer, what):
            file.write(piece)


def _pieces(answer: http.client.HTTPResponse, what: str) -> Iterator[bytes]:
    """The whole body, or an error."""
    expected, size = answer.headers.get("Content-Length"), 0
    with _network_errors(what):
        while piece := answer.read(2**20):
            size += len(piece)
            yield piece
        if expected is not None and size != int(expected):
            raise StorageUnavailableError(f"{what} broke off after {size} of {expected} bytes; try again")


@contextmanager
def _network_errors(what: str) -> Iterator[None]:
    """Translate what goes wrong between us and a server; the local disk has errors of its own."""
    try:
        yield
    except urllib.error.HTTPError as exc:
        exc.close()  # it is the answer, too
        if exc.code < 500 and exc.code not in _LATER:
            raise ObjectNotFoundError(f"{what} answered {exc.code}; check the address") from exc
        raise StorageUnavailableError(f"{what} answered {exc.code}; try again later") from exc
    except (http.client.HTTPException, ValueError) as exc:  # its own words may be lines of the answer
        raise StorageUnavailableError(f"{what} gave an answer that is not HTTP, or not all of it; try again") from exc
    except OSError as exc:
        raise StorageUnavailableError(f"{what} cannot be fetched: {exc}; try again later") from exc


def _request_url(url: str) -> str:
    """The address as it is sent: spaces and what is not ASCII behind percent signs, all else as it was written.

    Raises:
        RequestError: No address, or one with a password.
    """
    fault = f"{shown_href(url)} is not an address that can be fetched; check host and port"
    try:
        parts = urlsplit(url)
        port, netloc = parts.port, parts.netloc.encode("idna").decode()
    except ValueError as exc:
        raise RequestError(fault) from exc
    if not parts.hostname or " " in netloc or port == 0:
        raise RequestError(fault)
    if "@" in parts.netloc:
        raise RequestError(
            f"{shown_href(url)} was given with a user or password, which Swath never sends; sign it instead"
        )
    return quote(urlunsplit(parts._replace(netloc=netloc, fragment="")), safe=string.punctuation)


def asset_opener(store: ObjectStore, settings: Settings) -> Callable[[Asset], str | RasterOpener]:
    """How a reader gets at an asset: a local path, or ranged reads of the store.

    It raises ObjectNotFoundError where the bytes are gone, or not those that were ingested.
    """
    fetch, fetch_anew = fetcher(settings), fetcher(settings, fresh=True)

    def open_asset(asset: Asset) -> str | RasterOpener:
        if asset.href.startswith(STORE_SCHEME):
            return RasterOpener(store, asset.href.removeprefix(STORE_SCHEME))
        if "://" not in asset.href:
            _check_local(asset)
            return asset.href
        # An address may name other bytes by now, and a later ingest may have fetched them; or it had, and does no more.
        for bring in (fetch, fetch_anew):
            path = bring(asset.href)
            if path.stat().st_size == asset.size_bytes and file_sha256(path) == asset.sha256:
                return str(path)
        raise _changed(asset.href)

    return open_asset


def _check_local(asset: Asset) -> None:
    for href, expected in ((asset.href, asset.sha256), *zip(asset.sidecars, asset.sidecar_sha256, strict=False)):
        if not Path(href).is_file():
            raise _gone(href)
        if file_sha256(Path(href)) != expected:
            raise _changed(href)


def _gone(href: str) -> ObjectNotFoundError:
    return ObjectNotFoundError(f"{public_href(href)} is gone since it was ingested; put it back or ingest it again")


def _changed(href: str) -> ObjectNotFoundError:
    what = public_href(href)
    return ObjectNotFoundError(f"{what} has changed since it was ingested; put the old one back, or run it anew")


def prepared(scene: Scene, store: ObjectStore, *, proven: bool = True) -> Scene:
    """The tiler's version of a scene where there is one: equal pixels, so the digest stays; else the scene itself.

    Args:
        scene: As it was ingested.
        store: Of the installation.
        proven: Read the copy, once in a process, and compare its digest; False: only its size, where no pixel matters.
    """
    try:
        ready = Scene.model_validate_json(store.get(prepared_key(scene.digest)))
        (copy,) = ready.assets
        key = copy.href.removeprefix(STORE_SCHEME)
        whole = ready.bands == bands_in_one_file(scene) and store.size(key) == copy.size_bytes
        if whole and proven:
            whole = _stored_sha256(store, key, copy.size_bytes) == copy.sha256  # type: ignore[arg-type]  # no store has __eq__
    except ObjectNotFoundError:
        return scene
    return ready if whole else scene


def bands_in_one_file(scene: Scene) -> tuple[Band, ...]:
    """The scene's bands as the tiler's copy has them: what they say of their numbers stays, whatever type it is in."""
    return tuple(
        band.model_copy(update={"asset": 0, "bidx": position}) for position, band in enumerate(scene.bands, start=1)
    )


@lru_cache(maxsize=64)
def _stored_sha256(store: ObjectStore, key: str, _size: int) -> str:
    with store.open(key) as reader:
        return hashlib.file_digest(reader, "sha256").hexdigest()
