"""Where a scene's bytes are: the user's file, a local copy of a remote one, or the tiler's COG in the store."""

import hashlib
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from services.core.errors import ObjectNotFoundError, RequestError, StorageUnavailableError
from services.core.names import prepared_key, public_href
from services.core.records import Asset, Scene
from services.core.settings import Settings
from services.core.storage import ObjectStore, RasterOpener, open_store, split_uri
from services.core.storage.files import atomic_file, local_errors

#: Assets with this prefix are objects of the installation's own store: what the tiler made.
STORE_SCHEME = "store:"
_HTTP_TIMEOUT_S = 30


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
        name = Path(uri.split("?", 1)[0]).name or "object"
        target = cache_folder(settings) / hashlib.sha256(uri.encode()).hexdigest()[:16] / name
        if target.is_file() and not fresh:
            return target
        if uri.startswith("s3://"):
            store_uri, key = split_uri(uri)
            open_store(store_uri, settings).fetch(key, target)
        elif uri.startswith(("http://", "https://")):
            _download(uri, target)
        else:
            raise RequestError(f"{uri} is neither a path nor an s3://, http:// or https:// address")
        return target

    return fetch


def _download(url: str, target: Path) -> None:
    try:
        with urllib.request.urlopen(url, timeout=_HTTP_TIMEOUT_S) as answer, atomic_file(target, durable=False) as file:  # noqa: S310  # scheme checked by the caller
            shutil.copyfileobj(answer, file, 2**20)
            expected = answer.headers.get("Content-Length")
            if expected is not None and file.tell() != int(expected):
                raise StorageUnavailableError(f"{url} broke off after {file.tell()} of {expected} bytes; try again")
    except urllib.error.HTTPError as exc:
        if exc.code < 500:
            raise ObjectNotFoundError(f"{url} answered {exc.code}; check the address") from exc
        raise StorageUnavailableError(f"{url} answered {exc.code}; try again later") from exc
    except OSError as exc:
        raise StorageUnavailableError(f"{url} cannot be fetched: {exc}; try again later") from exc


def asset_opener(store: ObjectStore, settings: Settings) -> Callable[[Asset], str | RasterOpener]:
    """How a reader gets at an asset: a local path, or ranged reads of the store."""
    fetch = fetcher(settings)

    def open_asset(asset: Asset) -> str | RasterOpener:
        if asset.href.startswith(STORE_SCHEME):
            return RasterOpener(store, asset.href.removeprefix(STORE_SCHEME))
        if "://" not in asset.href:
            _check_size(asset, Path(asset.href))
            return asset.href
        path = fetch(asset.href)
        _check_size(asset, path)
        # An address may name other bytes by now, fetched by a later ingest or, after the cache was emptied, just here.
        if _sha256(path) != asset.sha256:
            raise _changed(asset.href)
        return str(path)

    return open_asset


def check_unchanged(asset: Asset) -> None:
    """Hash a local file and its sidecars and compare; remote ones are compared when they are opened.

    Raises:
        ObjectNotFoundError: One is gone, or is not the file that was ingested.
    """
    if "://" in asset.href or asset.href.startswith(STORE_SCHEME):
        return
    _check_size(asset, Path(asset.href))
    for href, expected in ((asset.href, asset.sha256), *zip(asset.sidecars, asset.sidecar_sha256, strict=False)):
        if not Path(href).is_file():
            raise _gone(href)
        if _sha256(Path(href)) != expected:
            raise _changed(href)


def _check_size(asset: Asset, path: Path) -> None:
    if not path.is_file():
        raise _gone(asset.href)
    if path.stat().st_size != asset.size_bytes:
        raise _changed(asset.href)


def _sha256(path: Path) -> str:
    """Of a file's bytes, read again only when it is not the same file any more: each thread opens it."""
    with local_errors(str(path)):
        seen = path.stat()
        return _sha256_of(path, (seen.st_ino, seen.st_size, seen.st_mtime_ns))


@lru_cache(maxsize=256)
def _sha256_of(path: Path, _seen: tuple[int, int, int]) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _gone(href: str) -> ObjectNotFoundError:
    return ObjectNotFoundError(f"{public_href(href)} is gone since it was ingested; put it back or ingest it again")


def _changed(href: str) -> ObjectNotFoundError:
    what = public_href(href)
    return ObjectNotFoundError(f"{what} has changed since it was ingested; put the old one back, or run it anew")


def prepared(scene: Scene, store: ObjectStore) -> Scene:
    """The tiler's version of a scene where there is one: equal pixels, so the digest stays; else the scene itself."""
    try:
        return Scene.model_validate_json(store.get(prepared_key(scene.digest)))
    except ObjectNotFoundError:
        return scene
