"""A STAC item as a scene: where the files of its assets are, and what it says about all of them.

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
from services.core.raster.item_choice import choose_assets


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
    """Where a scene's files are, and what is said of them; which they are, see `choose_assets`.

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
    chosen = choose_assets(assets, properties)
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
    named = properties.get("s2:processing_baseline", properties.get("sentinel:processing_baseline"))
    text = str(named or (version if re.fullmatch(r"\d\d\.\d\d", version) else ""))
    major, dot, minor = text.partition(".")
    if dot and (major + minor).isdigit():
        return f"_N{major:0>2}{minor:0>2}_"
    return _text(properties.get("s2:product_uri")) or _text(properties.get("sentinel:product_id")) or ""


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
