"""The band table of a scene: names, scale and nodata, settled by one order of trust."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from services.core.errors import RequestError
from services.core.raster.dates import resolve_time, sensing_time
from services.core.raster.facts import LayerFacts, RasterFacts
from services.core.raster.scale import SENTINEL_STACK, UNKNOWN, Scale, sensor_nodata, sensor_scale
from services.core.raster.sensors import (
    BandCode,
    Sensor,
    all_of_sentinel,
    also_known,
    common_name,
    implied_codes,
    is_vague,
    parse_code,
    pick_sensor,
    sensor_name,
)
from services.core.records import Band

_NAME_CHARS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class BandHint:
    """What the user or a STAC item says about one layer; None: nothing."""

    name: str | None = None
    forced: bool = False  #: the user's own word: never renamed
    alias: str | None = None
    scale: Scale | None = None
    nodata: float | None = None
    elsewhere: bool = False  #: another file has this band: it is not read from here


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file of a scene and what is said about its layers from outside."""

    facts: RasterFacts
    hints: tuple[BandHint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hearsay:
    """What platform metadata and file names say about a scene as a whole."""

    said: tuple[str, ...]  #: platform, title and file names, the most trusted first
    acquired_at: datetime | None


#: What GDAL and other converters carry over from a product's own metadata.
_PRODUCT_TAGS = ("PRODUCT_URI", "SPACECRAFT_NAME", "PROCESSING_LEVEL")


def hear(
    parts: Sequence[Part],
    *,
    said: str = "",
    title: str = "",
    platform: str | None = None,
    acquired_at: datetime | None = None,
) -> Hearsay:
    """What files say in their tags and names, behind what is said about them from outside."""
    at = acquired_at
    for part in parts:
        at = at or resolve_time(part.facts.path.name, part.facts.tags, part.facts.imagery)
        at = at or resolve_time(part.facts.tags.get("PRODUCT_URI", ""), {}, {})
    at = at or resolve_time(title, {}, {}) or sensing_time(said)
    names = " ".join(part.facts.path.name for part in parts)
    platform = platform or parts[0].facts.imagery.get("SATELLITEID", "")
    tagged = " ".join(part.facts.tags[key] for part in parts for key in _PRODUCT_TAGS if key in part.facts.tags)
    return Hearsay(said=(platform, said, names, tagged), acquired_at=at)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    asset: int
    facts: LayerFacts
    masked: bool
    hint: BandHint = field(default_factory=BandHint)
    code: BandCode | None = None


def build_bands(parts: Sequence[Part], hearsay: Hearsay) -> tuple[Band, ...]:
    """One Band per data layer, in the order of files and layers.

    A name comes from the user, the STAC item, the sensor's table, the layer's description, its colour, or its position,
    in this order. Two layers that would share a name get neither: both are `band<n>`, and keep their alias.

    Raises:
        RequestError: The user gave one name twice.
    """
    layers = [layer for position, part in enumerate(parts) for layer in _layers(position, part)]
    codes = [layer.code for layer in layers if layer.code is not None]
    if not codes:
        layers = _with_implied_codes(layers, hearsay)
        codes = [layer.code for layer in layers if layer.code is not None]
    complete = len(parts) == 1 and all_of_sentinel(codes)
    sensor = pick_sensor(codes, said=hearsay.said, acquired_at=hearsay.acquired_at)
    said = Counter(layer.hint.name for layer in layers)
    names = _unique([_name(layer, sensor, shared=said[layer.hint.name] > 1) for layer in layers], layers)
    return tuple(
        _band(layer, name or f"band{number}", sensor, _scale(layer, sensor, hearsay, complete=complete))
        for number, (layer, name) in enumerate(zip(layers, names, strict=True), start=1)
    )


def _layers(position: int, part: Part) -> list[_Layer]:
    facts = part.facts
    hints = part.hints or tuple(BandHint() for _ in facts.layers)
    if len(hints) != len(facts.layers):
        raise RequestError(f"{facts.href} has {len(facts.layers)} data bands, but {len(hints)} are named for it")
    alone = len(facts.layers) == 1
    return [
        _Layer(
            asset=position,
            facts=layer,
            masked=facts.mask.explicit,
            hint=hint,
            code=_code(hint.alias, layer.description, facts.path.stem if alone else None),
        )
        for layer, hint in zip(facts.layers, hints, strict=True)
        if not hint.elsewhere
    ]


def _code(*texts: str | None) -> BandCode | None:
    """The first band code among what item, description and file name say, and the product of any that says it."""
    found = [code for text in texts if text and (code := parse_code(text)) is not None]
    if not found:
        return None
    products = (code.product for code in found if code.code == found[0].code and code.product)
    return replace(found[0], product=next(products, ""))


def _with_implied_codes(layers: list[_Layer], hearsay: Hearsay) -> list[_Layer]:
    """A Sentinel-2 product's bands by their order, where neither file nor user names a single one."""
    if any(layer.hint != BandHint() or layer.facts.description for layer in layers):
        return layers
    if len({layer.asset for layer in layers}) != 1:
        return layers
    codes = implied_codes(hearsay.said, [layer.facts.dtype for layer in layers])
    if not codes:
        return layers
    return [replace(layer, code=code) for layer, code in zip(layers, codes, strict=True)]


def _name(layer: _Layer, sensor: Sensor | None, *, shared: bool) -> str | None:
    """None: by position. `shared`: the item gives other bands the same name."""
    own, hint = layer.facts.description, layer.hint
    listed = sensor_name(sensor, layer.code) if sensor is not None and layer.code is not None else None
    if hint.name and (listed is None or hint.forced or not (shared or is_vague(hint.name))):
        return common_name(hint.name) or _plain(hint.name)
    if listed is not None:
        return listed
    for said in (layer.hint.alias, own):
        if said and (name := common_name(said)) is not None:
            return name
    if own is None and layer.facts.color is not None:
        return layer.facts.color
    if layer.code is not None:
        return layer.code.written.lower()
    return _plain(own) if own else None


def _plain(text: str) -> str:
    return " ".join(text.split()).lower()[:_NAME_CHARS]


def _unique(names: list[str | None], layers: Sequence[_Layer]) -> list[str | None]:
    counts = Counter(name for name in names if name)
    for name, layer in zip(names, layers, strict=True):
        if layer.hint.forced and name and counts[name] > 1:
            raise RequestError(f"band name {name} is given twice; give each band its own")
    return [name if name and counts[name] == 1 else None for name in names]


def _band(layer: _Layer, name: str, sensor: Sensor | None, scale: Scale) -> Band:
    facts, code = layer.facts, layer.code
    alias = code.written if code is not None else (layer.hint.alias or facts.description)
    spoken = {text for text in (facts.description, layer.hint.alias) if text and text != alias}
    return Band(
        name=name,
        alias=alias if alias != name else None,
        also=tuple(sorted({*also_known(sensor, name), *spoken} - {name})),
        asset=layer.asset,
        bidx=facts.bidx,
        dtype=facts.dtype,
        nodata=None if layer.masked else _nodata(layer, sensor),
        scale=scale.scale,
        offset=scale.offset,
        scale_source=scale.source,
    )


def _scale(layer: _Layer, sensor: Sensor | None, hearsay: Hearsay, *, complete: bool) -> Scale:
    """Item, then file, then the sensor's own rule; `complete`: the file holds all 13 bands of Sentinel-2."""
    if layer.hint.scale is not None:
        return layer.hint.scale
    if (layer.facts.scale, layer.facts.offset) != (1.0, 0.0):
        return Scale(layer.facts.scale, layer.facts.offset, "file")
    if layer.code is not None and sensor is not None:
        said = " ".join(hearsay.said)
        scale = sensor_scale(sensor, layer.code, layer.facts.dtype, said=said, at=hearsay.acquired_at)
        undated = scale is UNKNOWN and sensor is Sensor.MSI and layer.facts.dtype == "uint16"
        return SENTINEL_STACK if undated and complete else scale
    return UNKNOWN


def _nodata(layer: _Layer, sensor: Sensor | None) -> float | None:
    """File, then item, then the sensor's own rule."""
    if layer.facts.nodata is not None:
        return layer.facts.nodata
    if layer.hint.nodata is not None:
        return layer.hint.nodata
    return sensor_nodata(sensor, layer.code, layer.facts.dtype)
