"""`item.json`: the product as a STAC 1.1 Item.

The MLM extension is for items that hold a model, and asks for an asset that does
(https://github.com/stac-extensions/mlm, 1.0 to 1.4). A map holds one by reference: the item repeats the `mlm:` fields
of the package's own `model.json`, and its `model` asset points to where that package is kept under its digest.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from services.core.model.contract import Contract
from services.core.names import public_href, slug
from services.core.product.coverage import NAMED_TILES, Coverage
from services.core.product.manifest import FileFacts, library_versions
from services.core.product.spec import MANIFEST, MAP, NODATA, STATISTICS, TILES, ProductSpec

_EXTENSIONS = tuple(
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in ("projection/v2.0.0", "raster/v2.0.0", "classification/v2.0.0", "processing/v1.2.0", "file/v2.1.0")
)
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_PARQUET = "application/vnd.apache.parquet"
_JSON = "application/json"
_MEDIA_TYPES = {"GTiff": "image/tiff; application=geotiff", "JP2OpenJPEG": "image/jp2"}
_SHA256_MULTIHASH = "1220"  # sha2-256, 32 bytes: https://github.com/multiformats/multihash


def build_item(spec: ProductSpec, coverage: Coverage, files: Mapping[str, FileFacts]) -> dict[str, Any]:
    """The item of a product.

    Args:
        spec: The run.
        coverage: What became of its tiles.
        files: Of map, table and statistics; the manifest is written after the item and cannot be named to the byte.
    """
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [*_EXTENSIONS, *_mlm_schema(spec)],
        "id": spec.run.id,
        "geometry": spec.scene.geometry,
        "properties": _properties(spec, coverage),
        "links": list(_links(spec)),
        "assets": _assets(spec, files),
    }
    if spec.scene.geometry is not None and spec.scene.bbox is not None:
        item["bbox"] = list(spec.scene.bbox)
    return item


def _properties(spec: ProductSpec, coverage: Coverage) -> dict[str, Any]:
    run, scene = spec.run, spec.scene
    properties: dict[str, Any] = {
        "title": f"{run.model_name} on {scene.title}",
        "datetime": _utc(scene.acquired_at or run.created_at),
        # STAC wants a time; where the scene has none, the run's says at least since when the map exists.
        "swath:datetime_source": "run" if scene.acquired_at is None else "scene",
        "created": _utc(spec.finished_at),
        **_projection(spec),
        "processing:level": "L4",
        "processing:lineage": f"{' > '.join(operator_names(spec.flow))}, by swath {spec.code_version}",
        "processing:software": {"swath": spec.code_version, **library_versions(spec)},
        "processing:datetime": _utc(spec.finished_at),
        "mlm:name": run.model_name,
        **_mlm_properties(spec),
        "swath:model": {
            "name": run.model_name,
            "digest": run.model_digest,
            "kind": spec.contract.kind,
            "backend": run.backend,
        },
        "swath:scene": {"id": scene.id, "digest": scene.digest},
        "swath:tiles": {"grid": [spec.grid.rows, spec.grid.cols], "tile_px": spec.grid.tile_px, "step": spec.step},
        "swath:coverage": coverage.summary(named=NAMED_TILES),
    }
    if spec.contract.threshold is not None:
        properties["swath:threshold"] = spec.contract.threshold
    if scene.platform is not None:
        properties["platform"] = scene.platform
    return properties


def _projection(spec: ProductSpec) -> dict[str, Any]:
    crs = spec.scene.crs
    named = crs.startswith("EPSG:")
    grid = {"proj:shape": list(spec.map_shape), "proj:transform": list(spec.map_transform)}
    return {"proj:code": crs, **grid} if named else {"proj:code": None, "proj:wkt2": crs, **grid}


def _links(spec: ProductSpec) -> Iterator[dict[str, Any]]:
    scene = spec.scene
    source = public_href(scene.source)
    hrefs = {public_href(asset.href): _MEDIA_TYPES[asset.driver] for asset in scene.assets}
    if source.endswith(".json"):  # a STAC item: the best thing to be derived from
        hrefs = {source: "application/geo+json", **hrefs}
    for href, media_type in hrefs.items():
        yield {"rel": "derived_from", "href": href, "type": media_type, "title": scene.title}


def _assets(spec: ProductSpec, files: Mapping[str, FileFacts]) -> dict[str, Any]:
    return {
        **_model_asset(spec),
        "map": {
            "href": f"./{MAP}",
            "type": _COG,
            "title": "Class of each tile" if spec.tile_map else "Class map",
            "description": _map_note(spec),
            "roles": ["data"],
            "bands": [{"name": "class", "data_type": "uint8", "nodata": NODATA}],
            "raster:sampling": "area",
            "raster:spatial_resolution": spec.scene.gsd_m * spec.map_step,
            "classification:classes": _classes(spec.contract),
            **_file(files[MAP]),
        },
        "tiles": {
            "href": f"./{TILES}",
            "type": _PARQUET,
            "title": "Footprint and answer of each tile (GeoParquet 1.1)",
            "roles": ["data"],
            **_file(files[TILES]),
        },
        "statistics": {
            "href": f"./{STATISTICS}",
            "type": _JSON,
            "title": "Histograms of what the model was given and answered",
            "roles": ["metadata"],
            **_file(files[STATISTICS]),
        },
        "manifest": {
            "href": f"./{MANIFEST}",
            "type": _JSON,
            "title": "Digests, sources, model and the command that repeats the run",
            "roles": ["metadata"],
        },
    }


def _mlm_schema(spec: ProductSpec) -> list[str]:
    return [url for url in spec.model_item.get("stac_extensions", ()) if "/mlm/" in url]


def _mlm_properties(spec: ProductSpec) -> dict[str, Any]:
    properties = spec.model_item.get("properties", {})
    return {name: value for name, value in properties.items() if name.startswith("mlm:")}


def _model_asset(spec: ProductSpec) -> dict[str, Any]:
    """The package's asset with the model in it, where it is kept; its bands are what `mlm:input` refers to."""
    for asset in spec.model_item.get("assets", {}).values():
        if "mlm:model" in asset.get("roles", ()):
            name = str(asset["href"]).removeprefix("./")
            bands = [{"name": band} for band in spec.contract.bands]
            return {"model": {**asset, "href": f"{spec.model_href}/{name}", **({"bands": bands} if bands else {})}}
    return {}


def _map_note(spec: ProductSpec) -> str:
    if spec.tile_map:
        return "One pixel per tile; pixels of edge tiles cover a whole tile and reach past the scene."
    if spec.contract.kind == "threshold":
        return "The class of the tile a pixel lies in; nodata are whole tiles that are empty or masked."
    return "The class of each pixel; nodata where the scene has none and in masked tiles."


def _classes(contract: Contract) -> list[dict[str, Any]]:
    nodata = {"value": NODATA, "name": "nodata", "title": "No answer", "nodata": True}
    taken = {nodata["name"]}
    known = []
    for c in contract.classes:
        name = slug(c.name)
        while name in taken:  # `Mixed forest` and `mixed-forest`; or names that have no Latin letter
            name = f"{name}-{c.value}"
        taken.add(name)
        known.append({"value": c.value, "name": name, "title": c.name, "color_hint": c.color.removeprefix("#").upper()})
    return [*known, nodata]


def _file(facts: FileFacts) -> dict[str, Any]:
    return {"file:size": facts.size_bytes, "file:checksum": f"{_SHA256_MULTIHASH}{facts.sha256}"}


def operator_names(flow: Mapping[str, Any]) -> list[str]:
    """Names in the order they ran, each once, from `Flow.describe()`."""
    names = [name for source in flow.get("inputs", ()) for name in operator_names(source)]
    return list(dict.fromkeys([*names, str(flow["name"])]))


def _utc(moment: datetime) -> str:
    """RFC 3339 in UTC. A time without a zone is the sensor's, which is UTC."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat().replace("+00:00", "Z")
