"""A STAC item as a scene: which assets hold measurements, and what the item says about them.

STAC 1.0 (`eo:bands`, `raster:bands`, `proj:epsg`) and 1.1 (`bands`, `proj:code`). An item is somebody else's text, so
its hrefs are followed with care: those of a local item stay beneath its own folder, those of a remote one are s3, http
or https, and no href ever reaches GDAL as a virtual path.

Source: https://github.com/radiantearth/stac-spec/blob/v1.1.0/item-spec/item-spec.md
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from services.core.errors import UnreadableSceneError
from services.core.raster.bands import BandHint
from services.core.raster.dates import parse_time
from services.core.raster.georef import Bounds
from services.core.raster.href import resolve_href, shown_href
from services.core.raster.item_bands import asset_hints

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
    baseline: str  #: Sentinel-2's, as a product name writes it: `_N0400_`, or such a name; else empty
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
    name = shown_href(href)
    if not isinstance(value, Mapping) or value.get("type") != "Feature" or "stac_version" not in value:
        raise UnreadableSceneError(f"{name} is JSON but not a STAC item; name an item, or the scene's own file")
    properties, assets = value.get("properties"), value.get("assets")
    if not isinstance(properties, Mapping) or not isinstance(assets, Mapping):
        raise UnreadableSceneError(f"{name} is a STAC item without properties or assets; make it again")
    chosen = _choose(assets, properties)
    if not chosen:
        raise UnreadableSceneError(
            f"{name} has no asset of measurements in GeoTIFF or JPEG 2000; name the scene's own files"
        )
    return Item(
        title=str(value.get("id") or Path(name).stem),
        platform=_text(properties.get("platform")),
        acquired_at=parse_time(_text(properties.get("datetime")) or _text(properties.get("start_datetime"))),
        baseline=_baseline(properties),
        assets=tuple(_asset(asset, hints, properties, href) for asset, hints in chosen),
    )


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
    path = re.split(r"[?#]", asset["href"], maxsplit=1)[0]
    return media in _TYPES or (not media and path.lower().endswith(_SUFFIXES))


def _asset(
    asset: Mapping[str, Any], hints: tuple[BandHint, ...], properties: Mapping[str, Any], base: str
) -> ItemAsset:
    merged = {**properties, **asset}
    code = merged.get("proj:code") or (f"EPSG:{merged['proj:epsg']}" if merged.get("proj:epsg") else None)
    href = resolve_href(asset["href"], base)
    _check_scales(hints, f"{shown_href(href)} in {shown_href(base)}")
    return ItemAsset(href=href, hints=hints, crs=_text(code), bounds=_bounds(merged))


def _check_scales(hints: tuple[BandHint, ...], name: str) -> None:
    """Negative ones occur, where a depth is stored as a height; with one of 0 every pixel would be alike."""
    for scale in (hint.scale for hint in hints if hint.scale is not None):
        if scale.scale == 0 or not (math.isfinite(scale.scale) and math.isfinite(scale.offset)):
            raise UnreadableSceneError(
                f"{name} has a scale of {scale.scale:g} and an offset of {scale.offset:g}, which make nothing of its "
                "numbers; correct the item"
            )


def _bounds(merged: Mapping[str, Any]) -> Bounds | None:
    """From `proj:transform` and `proj:shape` of a grid that is not rotated, else from `proj:bbox`."""
    transform, shape = merged.get("proj:transform"), merged.get("proj:shape")
    try:
        if transform and shape:
            a, b, left, d, e, top = (float(value) for value in transform[:6])
            if b == d == 0 and a > 0 > e:
                return left, top + e * float(shape[0]), left + a * float(shape[1]), top
        left, bottom, right, top = (float(value) for value in merged["proj:bbox"])
    except (IndexError, KeyError, OverflowError, TypeError, ValueError):
        return None
    return left, bottom, right, top


def _baseline(properties: Mapping[str, Any]) -> str:
    """By the extension for Sentinel-2, its product's name, or a version of any processing that is written like one."""
    version = str(properties.get("processing:version", ""))
    text = str(properties.get("s2:processing_baseline", version if re.fullmatch(r"\d\d\.\d\d", version) else ""))
    major, dot, minor = text.partition(".")
    if dot and (major + minor).isdigit():
        return f"_N{major:0>2}{minor:0>2}_"
    return _text(properties.get("s2:product_uri")) or ""


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
