"""Where a scene's bytes are: the user's file, a local copy of a remote one, or the tiler's COG in the store."""

import hashlib
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

from services.core.downloads import fetcher
from services.core.errors import ObjectNotFoundError
from services.core.names import prepared_key, public_href, scene_cog_key
from services.core.raster.sidecars import remote_sidecars
from services.core.records import Asset, Band, Scene
from services.core.settings import Settings
from services.core.storage import ObjectStore, RasterOpener
from services.core.storage.files import file_sha256

#: Assets with this prefix are objects of the installation's own store: what the tiler made.
STORE_SCHEME = "store:"


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
        path = fetch(asset.href)
        changed = _changed_copy(asset, path)
        if changed is not None:
            path = fetch_anew(asset.href)
            changed = _changed_copy(asset, path)
        if changed is not None:
            raise _changed(changed)
        return str(path)

    return open_asset


def _changed_copy(asset: Asset, path: Path) -> str | None:
    """The address of the file, or of one beside it, whose copy is gone or not what was ingested."""
    places = dict(remote_sidecars(asset.href, path))
    for href, expected in asset.digests:
        place = places.get(href, path)
        if not place.is_file() or file_sha256(place) != expected:
            return href
    return None


def check_present(assets: Iterable[Asset]) -> None:
    """That files of the user's are there, in the size they were ingested; reads none, and says nothing of remote ones.

    Raises:
        ObjectNotFoundError: One is not.
    """
    for asset in assets:
        if "://" in asset.href or asset.href.startswith(STORE_SCHEME):
            continue
        for href in (asset.href, *asset.sidecars):
            if not Path(href).is_file():
                raise _gone(href)
        if Path(asset.href).stat().st_size != asset.size_bytes:
            raise _changed(asset.href)


def _check_local(asset: Asset) -> None:
    for href, expected in asset.digests:
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
    """The scene as read from the tiler's copy where there is one: equal pixels, so the digest stays; else as it is.

    Scenes of one digest share the copy, and its record names the one that was tiled first: only files are taken of it.

    Args:
        scene: As it was ingested.
        store: Of the installation.
        proven: Read the copy, once in a process, and compare its digest; False: only its size, where no pixel matters.
    """
    copy = _recorded_copy(scene, store)
    if copy is None or not _is_whole(copy, store, proven=proven):
        return scene
    return scene.model_copy(update={"assets": (copy,), "bands": bands_in_one_file(scene)})


def _recorded_copy(scene: Scene, store: ObjectStore) -> Asset | None:
    """What the tiler wrote down of its copy; None: nothing, or nothing that is of use here."""
    try:
        ready = Scene.model_validate_json(store.get(prepared_key(scene.digest)))
        (copy,) = ready.assets
    except (ObjectNotFoundError, ValueError):  # ValueError: torn, or written by a Swath that tells more
        return None
    usable = copy.href == STORE_SCHEME + scene_cog_key(scene.digest) and ready.bands == bands_in_one_file(scene)
    return copy if usable else None


def _is_whole(copy: Asset, store: ObjectStore, *, proven: bool) -> bool:
    key = copy.href.removeprefix(STORE_SCHEME)
    try:
        whole = store.size(key) == copy.size_bytes
        if whole and proven:
            return _stored_sha256(store, key, copy.size_bytes) == copy.sha256  # type: ignore[arg-type]  # no store has __eq__
    except ObjectNotFoundError:
        return False
    return whole


def bands_in_one_file(scene: Scene) -> tuple[Band, ...]:
    """The scene's bands as the tiler's copy has them: what they say of their numbers stays, whatever type it is in."""
    return tuple(
        band.model_copy(update={"asset": 0, "bidx": position}) for position, band in enumerate(scene.bands, start=1)
    )


@lru_cache(maxsize=64)
def _stored_sha256(store: ObjectStore, key: str, _size: int) -> str:
    with store.open(key) as reader:
        return hashlib.file_digest(reader, "sha256").hexdigest()
