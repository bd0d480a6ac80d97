"""Ingest: from what the user names to a Scene that every later step can rely on, or one sentence why not."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.core.errors import BandMismatchError
from services.core.names import absolute, public_href
from services.core.raster.bands import Part, build_bands, hear
from services.core.raster.facts import RasterFacts, read_facts
from services.core.raster.footprint import ground_aspect, ground_gsd_m, plan_footprint
from services.core.raster.georef import HALF_PX, Bounds, Place, apart_px, crs_text, resolve_place
from services.core.raster.href import shown_href
from services.core.raster.sidecars import remote_sidecars
from services.core.raster.sources import Input, gather_inputs
from services.core.raster.table import parse_table
from services.core.records import Asset, Band, MaskKind, Naming, Scene
from services.core.storage.files import file_sha256

Fetch = Callable[[str], Path]

_SLUG_CHARS = 40
_DIGEST_CHARS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOptions:
    """What the user adds to what the files say of themselves."""

    bands: Mapping[str, str] = field(default_factory=dict)  #: name to file: `--band red=B04.jp2`
    names: tuple[str, ...] = ()  #: of the bands of a single file, in order: `--bands blue,green,red`
    crs: str | None = None  #: only where the file has none
    bounds: Bounds | None = None  #: (left, bottom, right, top) in `crs`; only where the file has none


def open_scene(sources: Sequence[str], *, options: OpenOptions | None = None, fetch: Fetch | None = None) -> Scene:
    """Look at files, check all that can be checked without decoding pixels, hash them, and describe them as one scene.

    Args:
        sources: One file, one folder, one STAC item (path or URL), or several files that are bands of one scene; may be
            empty when `options.bands` names the files.
        options: What the user adds.
        fetch: Brings a remote object to a local file; None: local files only.

    Raises:
        ObjectNotFoundError, StorageRefusedError: A file that is not there or may not be read.
        UnreadableSceneError: Not a raster that Swath reads, or cut short.
        GeoreferenceError: It cannot be placed on the ground.
        BandMismatchError: Bands that do not lie on one grid.
        RequestError: Arguments that make no sense together.
        RetryableError: From `fetch`.
    """
    options = options or OpenOptions()
    gathered = gather_inputs(sources, bands=options.bands, names=options.names, fetch=fetch)
    parts = tuple(Part(facts=read_facts(one.path, shown_href(one.href)), hints=one.hints) for one in gathered.inputs)
    places = [_place(one, part.facts, options) for one, part in zip(gathered.inputs, parts, strict=True)]
    place = _common_grid(parts, places)
    heard = hear(
        parts,
        said=gathered.said,
        title=gathered.title,
        platform=gathered.platform,
        acquired_at=gathered.acquired_at,
    )
    table = parse_table(parts[0].facts) if len(parts) == 1 and not options.names else None
    bands = table.bands if table else build_bands(parts, heard)
    assets = tuple(
        _asset(one.href, part.facts, where, bands, at)
        for at, (one, part, where) in enumerate(zip(gathered.inputs, parts, places, strict=True))
    )
    digest = _digest(assets, bands, place)
    geometry, bbox = plan_footprint(place)
    return Scene(
        id=f"{_slug(gathered.title)}-{digest[:_DIGEST_CHARS]}",
        title=gathered.title,
        source=gathered.source,
        naming=_naming(sources, options),
        digest=digest,
        assets=assets,
        bands=bands,
        shape=place.shape,
        crs=crs_text(place.crs),
        transform=_six(place),
        gsd_m=ground_gsd_m(place),
        pixel_aspect=ground_aspect(place),
        platform=(table.platform if table else None) or gathered.platform,
        acquired_at=(table.acquired_at if table else None) or heard.acquired_at,
        geometry=geometry,
        bbox=bbox,
    )


def _naming(sources: Sequence[str], options: OpenOptions) -> Naming:
    return Naming(
        paths=tuple(public_href(absolute(path)) for path in sources),
        bands=tuple((name, public_href(absolute(path))) for name, path in options.bands.items()),
        names=tuple(options.names),
        crs=options.crs,
        bounds=options.bounds,
    )


def _place(one: Input, facts: RasterFacts, options: OpenOptions) -> Place:
    """The user's georeference must agree with the file's; the item's only fills in what the file leaves open."""
    crs = options.crs or (one.crs if facts.crs is None else None)
    bounds = options.bounds or (one.bounds if facts.transform.is_identity else None)
    return resolve_place(facts, crs=crs, bounds=bounds)


def _common_grid(parts: Sequence[Part], places: Sequence[Place]) -> Place:
    """The finest grid; every other one must have the same bounds and a whole number of its pixels per pixel.

    Raises:
        BandMismatchError: One does not.
    """
    finest = max(places, key=lambda place: place.shape[0] * place.shape[1])
    for part, place in zip(parts, places, strict=True):
        why = _misfit(finest, place)
        if why:
            raise BandMismatchError(
                f"{part.facts.href} {why} the finest band's; warp the bands to one grid first, e.g. with gdalwarp"
            )
    return finest


def _misfit(fine: Place, place: Place) -> str | None:
    if place.crs != fine.crs:
        return "is in another coordinate reference system than"
    if fine.shape[0] % place.shape[0] or fine.shape[1] % place.shape[1]:
        return (
            f"has {place.shape[0]} by {place.shape[1]} pixels, no whole fraction of {fine.shape[0]} by {fine.shape[1]},"
        )
    if apart_px(fine.transform, fine.shape, place.transform, place.shape) > HALF_PX:
        return "covers other ground than"
    return None


def _asset(href: str, facts: RasterFacts, place: Place, bands: Sequence[Band], position: int) -> Asset:
    mask = facts.mask
    if mask is MaskKind.NONE and any(band.asset == position and band.nodata is not None for band in bands):
        mask = MaskKind.NODATA  # said by item or sensor
    beside = remote_sidecars(href, facts.path) if "://" in href else ()
    addresses = {place: address for address, place in beside}
    return Asset(
        href=href,
        sha256=file_sha256(facts.path),
        size_bytes=facts.size_bytes,
        driver=facts.driver,
        shape=facts.shape,
        block_shape=facts.block_shape,
        transform=_six(place),
        mask=mask,
        alpha=facts.alpha,
        sidecars=tuple(addresses.get(path, str(path)) for path in facts.sidecars),
        sidecar_sha256=tuple(file_sha256(path) for path in facts.sidecars),
    )


def _six(place: Place) -> tuple[float, float, float, float, float, float]:
    a, b, c, d, e, f = tuple(place.transform)[:6]
    return a, b, c, d, e, f


def _digest(assets: Sequence[Asset], bands: Sequence[Band], place: Place) -> str:
    """sha256 over what decides the pixels: bytes of files and sidecars, band table and grid; not where they are."""
    table = {
        "assets": [asset.sha256 for asset in assets],
        "sidecars": [list(asset.sidecar_sha256) for asset in assets],
        "bands": [band.model_dump(mode="json") for band in bands],
        "grid": [crs_text(place.crs), _six(place), place.shape],
    }
    if any(asset.alpha is not None for asset in assets):
        table["alpha"] = [asset.alpha for asset in assets]
    return hashlib.sha256(json.dumps(table, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _slug(title: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:_SLUG_CHARS].strip("-")
    return slug or "scene"
