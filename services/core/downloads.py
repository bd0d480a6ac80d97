"""Remote files brought to this machine: over http(s) or from S3, whole or not at all, with what lies beside them."""

import hashlib
import http.client
import string
import unicodedata
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from http.client import HTTPMessage
from pathlib import Path
from typing import IO
from urllib.parse import quote, urlsplit, urlunsplit

from services.core.errors import ObjectNotFoundError, RequestError, StorageRefusedError, StorageUnavailableError
from services.core.log import get_logger
from services.core.raster.href import shown_href
from services.core.raster.open import Fetch, open_scene
from services.core.raster.sidecars import is_sidecar, remote_sidecars
from services.core.raster.sniff import is_raster
from services.core.records import Scene
from services.core.settings import Settings
from services.core.storage import ObjectStore, open_store, split_uri
from services.core.storage.files import atomic_file, local_errors

log = get_logger(__name__)

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
    """A function that brings an s3:// or http(s):// object to a local file, and a raster's sidecars beside it.

    Args:
        settings: Where the copies go.
        fresh: Fetch it even where a copy is: for ingest, because what an address names may have changed.
    """
    stores = lru_cache(lambda uri: open_store(uri, settings))

    def fetch(uri: str) -> Path:
        _check_text(uri)
        target = cache_folder(settings) / hashlib.sha256(uri.encode()).hexdigest()[:16] / _file_name(uri)
        if target.is_file() and not fresh:
            return target
        _bring(uri, target, stores)
        if is_raster(target):
            for address, place in remote_sidecars(uri, target):
                _bring_sidecar(address, place, stores)
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


def _bring(uri: str, target: Path, stores: Callable[[str], ObjectStore]) -> None:
    if uri.startswith("s3://"):
        store_uri, key = split_uri(uri)
        stores(store_uri).fetch(key, target)
    elif uri.startswith(("http://", "https://")):
        _download(uri, target)
    else:
        raise RequestError(f"{shown_href(uri)} is neither a path nor an s3://, http:// or https:// address")


def _bring_sidecar(uri: str, target: Path, stores: Callable[[str], ObjectStore]) -> None:
    """A refusal means that there is none: S3 says no more to who may not list, nor to a signature of one file."""
    try:
        _bring(uri, target, stores)
        if is_sidecar(target):
            return
        log.warning("what an address gives for a sidecar is none, and left out", href=shown_href(uri))
    except ObjectNotFoundError:
        pass
    except StorageRefusedError:
        if not uri.startswith("s3://"):  # the local disk's
            raise
    target.unlink(missing_ok=True)  # also what an earlier ingest found


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
        answer = urllib.request.build_opener(_OnlyHttp).open(address, timeout=_HTTP_TIMEOUT_S)
    with answer, local_errors(str(target), writing=True), atomic_file(target, durable=False) as file:
        for piece in _pieces(answer, what):
            file.write(piece)


class _OnlyHttp(urllib.request.HTTPRedirectHandler):
    """Follows a redirect to http or https; urllib would also go to ftp."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise urllib.error.HTTPError(req.full_url, code, msg, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


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
