"""What a STAC item says about the bands of one asset: names, scale, offset and nodata, in the words of 1.0 or 1.1."""

import math
from collections.abc import Mapping
from typing import Any

from services.core.raster.bands import BandHint
from services.core.raster.scale import Scale
from services.core.raster.sensors import common_name, is_vague, parse_code

#: Of Element84's items, version 1 and 0.
_APPLIED = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
_QUANTIFICATION = 1e-4


def asset_hints(key: str, asset: Mapping[str, Any], properties: Mapping[str, Any]) -> tuple[BandHint, ...]:
    """One hint per band the asset lists; a single nameless one if it lists none but its key is a band's name."""
    eo, raster = _objects(asset.get("bands")) or _objects(asset.get("eo:bands")), _objects(asset.get("raster:bands"))
    count = max(len(eo), len(raster))
    if count == 0:
        name = common_name(key)
        alias = key if parse_code(key) else None
        return (BandHint(name=name, alias=alias),) if name or alias else ()
    eo += [{}] * (count - len(eo))
    raster += [{}] * (count - len(raster))
    return tuple(
        _hint({**asset, **r, **e}, key if count == 1 else "", properties) for e, r in zip(eo, raster, strict=True)
    )


def _hint(band: Mapping[str, Any], key: str, properties: Mapping[str, Any]) -> BandHint:
    own = band.get("name")
    common = band.get("eo:common_name") or band.get("common_name")
    own = own if isinstance(own, str) else None
    spelled = [name for text in (own, key) if text and (name := common_name(text)) is not None]
    name = common if isinstance(common, str) else next(iter(spelled), None)
    if name and is_vague(name):
        name = next((exact for exact in spelled if exact.startswith(name) and exact != name), name)
    alias = own or (key if parse_code(key) else None)
    return BandHint(name=name, alias=alias, scale=_scale(band, properties), nodata=number(band.get("nodata")))


def _scale(band: Mapping[str, Any], properties: Mapping[str, Any]) -> Scale | None:
    scale = number(band.get("raster:scale", band.get("scale")))
    offset = number(band.get("raster:offset", band.get("offset")))
    if any(properties.get(key) is True for key in _APPLIED):
        # Sentinel-2's offset has been taken out of the numbers, and the item lists it all the same:
        # https://github.com/Element84/earth-search/issues/66
        return Scale(_QUANTIFICATION if scale is None else scale, 0.0, "item")
    if scale is None and offset is None:
        return None
    return Scale(1.0 if scale is None else scale, offset or 0.0, "item")


def number(value: Any) -> float | None:
    """A number, or STAC's words for those JSON lacks; what no float holds is as good as infinite."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}.get(value)
    try:
        return float(value) if isinstance(value, int | float) else None
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
