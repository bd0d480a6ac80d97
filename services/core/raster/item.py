"""A STAC item as a scene: which assets hold measurements, and what the item says about them.

STAC 1.0 (`eo:bands`, `raster:bands`, `proj:epsg`) and 1.1 (`bands`, `proj:code`). An item is somebody else's text, so
its hrefs are followed with care: those of a local item stay beneath its own folder, those of a remote one are s3, http
or https, and no href ever reaches GDAL as a virtual path.

Source: https://github.com/radiantearth/stac-spec/blob/v1.1.0/item-spec/item-spec.md
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from services.core.errors import RequestError, UnreadableSceneError
from services.core.raster.bands import BandHint
from services.core.raster.dates import parse_time
from services.core.raster.georef import Bounds
from services.core.raster.item_bands import asset_hints

_REMOTE = ("s3", "http", "https")
_NOT_DATA = {
    "thumbnail",
    "overview",
    "metadata",
    "visual",
    "cloud",
    "data-mask",
    "saturation",
    "snow-ice",
    "water-mask",
}
_TYPES = ("image/tiff", "image/vnd.stac.geotiff", "image/x.geotiff", "image/jp2", "image/jpx")
_SUFFIXES = (".tif", ".tiff", ".jp2")


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemAsset:
    """One file that holds measurements."""

    href: str  #: absolute
    hints: tuple[BandHint, ...]
    crs: str | None
    bounds: Bounds | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What matters here of an item."""

    title: str
    platform: str | None
    acquired_at: datetime | None
    baseline: str  #: Sentinel-2's, as a product name writes it: `_N0400_`; else empty
    assets: tuple[ItemAsset, ...]


def parse_item(value: Any, href: str) -> Item:
    """Pick the assets with measurements; of two with the same bands the GeoTIFF, then the first.

    Args:
        value: Decoded JSON.
        href: Where the item is; relative hrefs start there.

    Raises:
        UnreadableSceneError: Not a STAC item, or without a readable asset of measurements.
        RequestError: An href that leads out of where the item may point.
    """
    if not isinstance(value, Mapping) or value.get("type") != "Feature" or "stac_version" not in value:
        raise UnreadableSceneError(f"{href} is JSON but not a STAC item; name an item, or the scene's own file")
    properties, assets = value.get("properties"), value.get("assets")
    if not isinstance(properties, Mapping) or not isinstance(assets, Mapping):
        raise UnreadableSceneError(f"{href} is a STAC item without properties or assets; make it again")
    chosen = _choose(assets, properties)
    if not chosen:
        raise UnreadableSceneError(
            f"{href} has no asset of measurements in GeoTIFF or JPEG 2000; name the scene's own files"
        )
    return Item(
        title=str(value.get("id") or Path(href).stem),
        platform=_text(properties.get("platform")),
        acquired_at=parse_time(_text(properties.get("datetime")) or _text(properties.get("start_datetime"))),
        baseline=_baseline(properties),
        assets=tuple(_asset(asset, hints, properties, href) for asset, hints in chosen),
    )


def resolve_href(href: str, base: str) -> str:
    """An absolute path or URI for an asset of the item at `base`.

    Raises:
        RequestError: It leads out of a local item's folder, or names a scheme that is not read.
    """
    scheme = urlsplit(href).scheme.lower() if "://" in href else ""
    if scheme in _REMOTE:
        return href
    if "://" in base and not scheme:
        return urljoin(base, href) if not base.startswith("s3://") else "s3" + urljoin("http" + base[2:], href)[4:]
    if scheme not in ("", "file") or "://" in base:
        raise RequestError(f"{href[:200]} in {base} is not an address Swath follows; name the file yourself")
    folder = Path(base).parent.resolve()
    path = (folder / (unquote(urlsplit(href).path) if scheme else href)).resolve()
    if not path.is_relative_to(folder):
        raise RequestError(
            f"{href[:200]} in {base} leads out of the item's own folder; name the file yourself with --band NAME=FILE"
        )
    return str(path)


def _choose(
    assets: Mapping[str, Any], properties: Mapping[str, Any]
) -> list[tuple[Mapping[str, Any], tuple[BandHint, ...]]]:
    """Assets of measurements with their hints, each band once."""
    found = [
        (asset, asset_hints(key, asset, properties))
        for key, asset in assets.items()
        if isinstance(asset, Mapping) and isinstance(asset.get("href"), str) and _is_data(asset)
    ]
    named = [pair for pair in found if any(hint.name or hint.alias for hint in pair[1])]
    if not named:
        return found
    # Single bands before composites of the same, GeoTIFF before JPEG 2000; the item's own order otherwise.
    ranked = sorted(named, key=lambda pair: (len(pair[1]), "jp2" in str(pair[0].get("type", pair[0]["href"])).lower()))
    taken: set[str] = set()
    kept = []
    for pair in ranked:
        names = {hint.name or hint.alias or "" for hint in pair[1]}
        if not names & taken:
            taken |= names
            kept.append(pair)
    return [pair for pair in named if any(pair is one for one in kept)]


def _is_data(asset: Mapping[str, Any]) -> bool:
    roles = asset.get("roles")
    roles = {role for role in roles if isinstance(role, str)} if isinstance(roles, list) else set()
    if roles & _NOT_DATA or (roles and not roles & {"data", "reflectance", "temperature"}):
        return False
    media = str(asset.get("type", "")).split(";")[0].strip().lower()
    return media in _TYPES or (not media and urlsplit(asset["href"]).path.lower().endswith(_SUFFIXES))


def _asset(
    asset: Mapping[str, Any], hints: tuple[BandHint, ...], properties: Mapping[str, Any], base: str
) -> ItemAsset:
    merged = {**properties, **asset}
    code = merged.get("proj:code") or (f"EPSG:{merged['proj:epsg']}" if merged.get("proj:epsg") else None)
    return ItemAsset(href=resolve_href(asset["href"], base), hints=hints, crs=_text(code), bounds=_bounds(merged))


def _bounds(merged: Mapping[str, Any]) -> Bounds | None:
    """From `proj:transform` and `proj:shape` of a grid that is not rotated, else from `proj:bbox`."""
    transform, shape = merged.get("proj:transform"), merged.get("proj:shape")
    try:
        if transform and shape:
            a, b, left, d, e, top = (float(value) for value in transform[:6])
            if b == d == 0 and a > 0 > e:
                return left, top + e * float(shape[0]), left + a * float(shape[1]), top
        left, bottom, right, top = (float(value) for value in merged["proj:bbox"])
    except (KeyError, TypeError, ValueError):
        return None
    return left, bottom, right, top


def _baseline(properties: Mapping[str, Any]) -> str:
    text = str(properties.get("s2:processing_baseline", ""))
    major, dot, minor = text.partition(".")
    return f"_N{major:0>2}{minor:0>2}_" if dot and (major + minor).isdigit() else ""


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
