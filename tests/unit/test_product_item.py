import json
from datetime import UTC, datetime

import jsonschema
import pystac
import pytest
from pystac.extensions.classification import ClassificationExtension
from pystac.extensions.file import FileExtension
from pystac.extensions.projection import ProjectionExtension
from pystac.validation.local_validator import get_local_schema_cache
from referencing import Registry, Resource

from services.core.errors import CoverageError
from services.core.model.contract import ModelClass
from services.core.product.coverage import Coverage, MaskedTile
from services.core.product.item import build_item
from services.core.product.manifest import FileFacts, build_manifest, canonical_json, parse_manifest
from tests.products import make_contract, make_run, make_scene, make_spec

FACTS = {name: FileFacts(sha256="d" * 64, size_bytes=7) for name in ("map.tif", "tiles.parquet", "statistics.json")}
ITEM_SCHEMA = "https://schemas.stacspec.org/v1.1.0/item-spec/json-schema/item.json"


def coverage(masked: int = 1) -> Coverage:
    tiles = tuple(MaskedTile(row=0, col=col, reason="damaged") for col in range(masked))
    return Coverage(
        planned=masked + 19, computed=19, empty=0, masked=masked, valid_fraction=0.9, masked_tiles=tiles, reused=4
    )


def item(**changes):
    return build_item(make_spec(**changes), coverage(), FACTS)


def read(record: dict) -> pystac.Item:
    return pystac.Item.from_dict(json.loads(canonical_json(record)))


def check_core_schema(record: dict) -> None:
    schemas = get_local_schema_cache()
    registry = Registry().with_resources([(uri, Resource.from_contents(schema)) for uri, schema in schemas.items()])
    jsonschema.Draft7Validator(schemas[ITEM_SCHEMA], registry=registry).validate(json.loads(canonical_json(record)))


@pytest.mark.parametrize("kind", ["threshold", "classification", "segmentation"])
def test_item_meets_the_core_schema(kind):
    check_core_schema(item(kind=kind))


def test_item_of_another_planet_has_no_geometry_and_meets_the_schema():
    record = item(scene=make_scene((100, 130), crs='PROJCRS["Europa"]', geometry=None, bbox=None))
    check_core_schema(record)
    assert record["geometry"] is None
    assert "bbox" not in record
    assert record["properties"]["proj:code"] is None
    assert record["properties"]["proj:wkt2"] == 'PROJCRS["Europa"]'


def test_pystac_reads_grid_classes_and_checksums():
    stac = read(item())
    assert ProjectionExtension.ext(stac).code == "EPSG:32631"
    assert ProjectionExtension.ext(stac.assets["map"]).shape == [4, 5]
    classes = ClassificationExtension.ext(stac.assets["map"]).classes
    assert [(c.value, c.name, c.color_hint) for c in classes][:2] == [
        (0, "bare-soil", "AA8844"),
        (1, "water", "0000FF"),
    ]
    assert FileExtension.ext(stac.assets["map"]).checksum == "1220" + "d" * 64


def test_classes_whose_names_have_the_same_letters_are_told_apart():
    names = ("Mixed forest", "mixed-forest", "水", "森", "No Data", "nodata")
    classes = tuple(ModelClass(value=at, name=name, color="#0000ff") for at, name in enumerate(names))
    contract = make_contract("classification").model_copy(update={"classes": classes})
    told = item(contract=contract)["assets"]["map"]["classification:classes"]
    assert [c["name"] for c in told] == ["mixed-forest", "mixed-forest-1", "x", "x-3", "no-data", "nodata-5", "nodata"]
    assert [c["title"] for c in told[:-1]] == list(names)


def test_datetime_is_the_scenes():
    properties = item()["properties"]
    assert properties["datetime"] == "2026-01-01T10:30:00Z"
    assert properties["swath:datetime_source"] == "scene"


def test_a_scene_without_a_date_gets_the_runs_and_says_so():
    properties = item(scene=make_scene((100, 130), acquired_at=None))["properties"]
    assert properties["datetime"] == "2026-01-02T03:04:05Z"
    assert properties["swath:datetime_source"] == "run"


def test_a_naive_acquisition_time_is_taken_as_utc():
    scene = make_scene((100, 130), acquired_at=datetime(2026, 1, 1, 10, 30))  # noqa: DTZ001  # the point of the test
    assert item(scene=scene)["properties"]["datetime"] == "2026-01-01T10:30:00Z"


def test_item_points_to_its_source():
    (link,) = [link for link in read(item()).links if link.rel == "derived_from"]
    assert link.href == "/data/s2.tif"


def test_a_stac_source_comes_first_and_loses_its_signature():
    scene = make_scene((100, 130), source="https://me:secret@host/items/a.json?sig=SECRET#x")
    links = item(scene=scene)["links"]
    assert [link["href"] for link in links] == ["https://host/items/a.json", "/data/s2.tif"]


def test_signed_asset_hrefs_lose_their_signature_everywhere():
    scene = make_scene((100, 130))
    signed = scene.assets[0].model_copy(update={"href": "https://host/a.tif?X-Amz-Signature=SECRET"})
    spec = make_spec(scene=scene.model_copy(update={"assets": (signed,)}))
    texts = canonical_json(build_item(spec, coverage(), FACTS)) + build_manifest(spec, coverage(), FACTS).encode()
    assert b"SECRET" not in texts
    assert texts.count(b"https://host/a.tif") == 2


def test_item_names_the_first_hundred_masked_tiles_and_the_manifest_all():
    spec = make_spec()
    record = build_item(spec, coverage(150), FACTS)
    manifest = build_manifest(spec, coverage(150), FACTS)
    assert len(record["properties"]["swath:coverage"]["masked_tiles"]) == 100
    assert record["properties"]["swath:coverage"]["masked"] == 150
    assert len(manifest.coverage["masked_tiles"]) == 150


def test_lineage_lists_the_operators_in_order():
    lineage = item()["properties"]["processing:lineage"]
    assert lineage.startswith("read > tile-mean")


@pytest.mark.parametrize(("kind", "metres"), [("threshold", 20.0), ("classification", 640.0), ("segmentation", 20.0)])
def test_resolution_is_that_of_the_map(kind, metres):
    assert item(kind=kind, step=2.0)["assets"]["map"]["raster:spatial_resolution"] == metres


def test_manifest_survives_a_round_trip():
    manifest = build_manifest(make_spec(), coverage(), FACTS)
    assert parse_manifest(manifest.encode(), "here") == manifest


def test_manifest_names_library_and_backend_versions():
    spec = make_spec(run=make_run(32, backend="openvino:bf16"))
    versions = build_manifest(spec, coverage(), FACTS).versions
    assert {"gdal", "numpy", "openvino"} <= versions.keys()


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-20], lambda b: b.replace(b"schema_version", b"scheme"), lambda _: b"{}"]
)
def test_a_damaged_manifest_is_not_believed(damage):
    data = damage(build_manifest(make_spec(), coverage(), FACTS).encode())
    with pytest.raises(CoverageError, match="here is not an intact manifest"):
        parse_manifest(data, "here")


def test_a_reformatted_manifest_is_not_believed():
    data = json.dumps(json.loads(build_manifest(make_spec(), coverage(), FACTS).encode())).encode()
    with pytest.raises(CoverageError, match="was edited"):
        parse_manifest(data, "manifest.json")


def test_times_with_other_zones_are_told_in_utc():
    run = make_run(32, created_at=datetime(2026, 1, 2, tzinfo=UTC))
    assert item(run=run)["properties"]["created"] == "2026-01-02T04:00:00Z"


def test_the_item_points_to_the_model_and_repeats_what_its_package_says():
    package = {
        "stac_extensions": ["https://stac-extensions.github.io/mlm/v1.4.0/schema.json"],
        "properties": {"mlm:name": "land", "mlm:tasks": ["classification"], "license": "Apache-2.0"},
        "assets": {"model": {"href": "./model.onnx", "roles": ["mlm:model"]}, "card": {"href": "./card.md"}},
    }
    record = item(model_item=package, model_href="s3://models/abc")
    assert any("/mlm/" in url for url in record["stac_extensions"])
    assert record["properties"]["mlm:tasks"] == ["classification"]
    assert record["assets"]["model"]["href"] == "s3://models/abc/model.onnx"
    assert "license" not in record["properties"]
