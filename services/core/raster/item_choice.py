"""Which assets of a STAC item are read: those with measurements, each band once and at its finest."""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from services.core.raster.bands import BandHint
from services.core.raster.item_bands import asset_hints, number
from services.core.raster.sensors import is_vague, metres_in_name, parse_code

Chosen = tuple[Mapping[str, Any], tuple[BandHint, ...]]

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
#: Keys of pictures for the eye, some of which say they are data.
_PICTURE = re.compile(r"visual|overview|preview|thumbnail|(?:^|_)tci", re.IGNORECASE)
_TYPES = ("image/tiff", "image/vnd.stac.geotiff", "image/x.geotiff", "image/jp2", "image/jpx")
_SUFFIXES = (".tif", ".tiff", ".jp2")


def choose_assets(assets: Mapping[str, Any], properties: Mapping[str, Any]) -> list[Chosen]:
    """Assets of measurements with what the item says of their bands, in the item's order.

    Of a band in several assets that counts which is alone in one, then the finest, then the GeoTIFF, then that with the
    most bands beside it. A composite is read for the bands that are nowhere else; its others are marked. A
    Landsat's panchromatic band is left out, as from a folder.

    Args:
        assets: The item's, by key.
        properties: The item's.
    """
    found = {
        key: asset_hints(key, asset, properties)
        for key, asset in assets.items()
        if isinstance(asset, Mapping) and isinstance(asset.get("href"), str) and _is_data(asset)
    }
    named = [key for key, hints in found.items() if any(_label(hint) for hint in hints)]
    if not named:
        return [(assets[key], hints) for key, hints in found.items()]
    named = [key for key in named if not _is_landsat_pan(found[key], properties)] or named
    taken: list[BandHint] = []
    kept: dict[str, tuple[BandHint, ...]] = {}
    for key in sorted(named, key=lambda key: _rank(key, assets[key], len(found[key]))):
        hints = _without(found[key], taken, picture=_PICTURE.search(key) is not None)
        new = [hint for hint in hints if not hint.elsewhere]
        if new:
            kept[key] = hints
            taken += new
    return [(assets[key], kept[key]) for key in named if key in kept]


def _is_data(asset: Mapping[str, Any]) -> bool:
    roles = asset.get("roles")
    roles = {role for role in roles if isinstance(role, str)} if isinstance(roles, list) else set()
    if roles & _NOT_DATA or (roles and not roles & {"data", "reflectance", "temperature"}):
        return False
    media = str(asset.get("type", "")).split(";")[0].strip().lower()
    path = re.split(r"[?#]", asset["href"], maxsplit=1)[0]
    return media in _TYPES or (not media and path.lower().endswith(_SUFFIXES))


def _is_landsat_pan(hints: tuple[BandHint, ...], properties: Mapping[str, Any]) -> bool:
    """Its grid is no fraction of the others', and the scene would be refused for it."""
    return [hint.name for hint in hints] == ["pan"] and "landsat" in str(properties.get("platform", "")).lower()


def _rank(key: str, asset: Mapping[str, Any], count: int) -> tuple[bool, bool, float, bool, int]:
    jp2 = "jp2" in str(asset.get("type", asset["href"])).lower()
    return count > 1, _PICTURE.search(key) is not None, _pixel_size(key, asset), jp2, -count


def _pixel_size(key: str, asset: Mapping[str, Any]) -> float:
    """Of the file; `gsd` last, which may be the instrument's own. 0 where nothing tells, as for a file in a folder."""
    raster, transform = asset.get("raster:bands"), asset.get("proj:transform")
    first = raster[0] if isinstance(raster, list) and raster and isinstance(raster[0], Mapping) else {}
    said = (
        asset.get("raster:spatial_resolution", first.get("spatial_resolution")),
        transform[0] if isinstance(transform, list) and transform else None,
        metres_in_name(key) or metres_in_name(Path(asset["href"]).name),
        asset.get("gsd"),
    )
    return next((abs(size) for value in said if (size := number(value)) and math.isfinite(size)), 0.0)


def _without(hints: tuple[BandHint, ...], taken: list[BandHint], *, picture: bool) -> tuple[BandHint, ...]:
    """Mark the bands that are there already; where one is, a nameless one adds nothing, nor does any of a picture."""
    there = [any(_is_same(hint, other, alone=len(hints) == 1) for other in taken) for hint in hints]
    if not any(there):
        return hints
    return tuple(
        replace(hint, elsewhere=known or picture or not _label(hint)) for hint, known in zip(hints, there, strict=True)
    )


def _is_same(one: BandHint, other: BandHint, *, alone: bool) -> bool:
    """By the sensor's code, or by name: in a composite a name says more than a code, which may be but a position.

    Args:
        one: What the item says of a band.
        other: And of another.
        alone: Each is the only band of its asset.
    """
    codes = [parse_code(hint.alias or "") for hint in (one, other)]
    if codes[0] is not None and codes[1] is not None and (alone or not (_is_exact(one) and _is_exact(other))):
        return codes[0].code == codes[1].code
    return _label(one) == _label(other) != ""


def _is_exact(hint: BandHint) -> bool:
    return bool(hint.name) and not is_vague(hint.name or "")


def _label(hint: BandHint) -> str:
    """The name, or the band's own where the name stands for several."""
    return ((hint.name if _is_exact(hint) else hint.alias or hint.name) or "").casefold()
