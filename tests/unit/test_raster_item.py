"""STAC items: which assets are the scene, what they say of their bands, and where their hrefs may lead."""

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rasterio.transform import Affine

from services.core.errors import RequestError, SwathError, UnreadableSceneError
from services.core.grid import whole
from services.core.raster.href import resolve_href
from services.core.raster.open import open_scene
from services.core.raster.read import SceneReader
from services.core.records import Scene
from tests.rasters import NORTH_UP, ramp, write_raster

TIFF = "image/tiff; application=geotiff; profile=cloud-optimized"
PROPERTIES = {"datetime": "2023-07-29T15:35:51.024Z", "platform": "sentinel-2a"}


def write_item(folder: Path, assets: dict[str, Any], version: str = "1.0.0", **properties: Any) -> Path:
    value = {
        "type": "Feature",
        "stac_version": version,
        "id": "S2A_19UDP_20230729_0_L2A",
        "properties": {**PROPERTIES, **properties},
    }
    path = folder / "item.json"
    path.write_text(json.dumps({**value, "assets": assets}))
    return path


def asset(href: str, *names: str, role: str = "data", **more: Any) -> dict[str, Any]:
    bands = [{"name": name, "common_name": name} for name in names]
    return {"href": href, "type": TIFF, "roles": [role], **({"eo:bands": bands} if bands else {}), **more}


def told(scene: Scene) -> list[tuple[Any, ...]]:
    return [(band.name, band.scale, band.offset, band.nodata, band.scale_source) for band in scene.bands]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name in ("red", "nir", "visual", "scl", "red2"):
        write_raster(tmp_path / f"{name}.tif", ramp((3, 8, 9) if name == "visual" else (8, 9)))
    return tmp_path


def test_an_item_of_stac_1_0_names_and_scales_its_bands(files: Path) -> None:
    raster = {"raster:bands": [{"scale": 0.0002, "offset": -0.1, "nodata": 5}]}
    path = write_item(files, {"nir": asset("./nir.tif", "nir", **raster), "red": asset("red.tif", "red", **raster)})
    scene = open_scene([str(path)])
    assert told(scene) == [("nir", 0.0002, -0.1, 5.0, "item"), ("red", 0.0002, -0.1, 5.0, "item")]
    assert (scene.title, scene.platform, scene.source) == ("S2A_19UDP_20230729_0_L2A", "sentinel-2a", str(path))
    assert str(scene.acquired_at) == "2023-07-29 15:35:51.024000+00:00"
    valid = SceneReader(scene, scene.bands).read(whole((8, 9)))[1]
    np.testing.assert_array_equal(valid, ramp((8, 9)) != 5)


def test_an_item_of_stac_1_1_says_the_same_in_other_words(files: Path) -> None:
    band = {"name": "B04", "eo:common_name": "red", "raster:scale": 0.0002, "raster:offset": -0.1, "nodata": 5}
    shared = {"href": "nir.tif", "type": TIFF, "roles": ["data"], "raster:scale": 0.5, "bands": [{"name": "B8A"}]}
    red = {"href": "red.tif", "type": TIFF, "roles": ["data"], "bands": [band]}
    scene = open_scene([str(write_item(files, {"r": red, "n": shared}, version="1.1.0"))])
    assert told(scene) == [("red", 0.0002, -0.1, 5.0, "item"), ("nir08", 0.5, 0.0, 0.0, "item")]


def test_pictures_classes_and_metadata_are_no_bands(files: Path) -> None:
    assets = {
        "thumbnail": {"href": "t.jpg", "type": "image/jpeg", "roles": ["thumbnail"]},
        "visual": asset("visual.tif", "red", "green", "blue", role="visual"),
        "overview": asset("visual.tif", "red", "green", "blue", role="overview"),
        "rendered_preview": asset("visual.tif", "red", "green", "blue"),  # says data, but red is there by itself
        "scl": asset("scl.tif"),
        "metadata": {"href": "m.xml", "type": "application/xml", "roles": ["metadata"]},
        "red-jp2": {**asset("missing.jp2", "red"), "type": "image/jp2"},
        "red": asset("red.tif", "red"),
    }
    assert [band.name for band in open_scene([str(write_item(files, assets))]).bands] == ["red"]


@pytest.mark.parametrize(
    ("assets", "bands"),
    [
        ({"rgb": "red green blue", "red": "red", "green": "green", "blue": "blue"}, ["red 0", "green 1", "blue 2"]),
        ({"rgb": "red green blue", "green": "green"}, ["red 0", "blue 0", "green 1"]),
        ({"rgb": "red green blue", "cir": "nir red green"}, ["red 0", "green 0", "blue 0", "nir 1"]),
        ({"rgb": "red green blue", "all": "coastal blue green red"}, ["coastal 0", "blue 0", "green 0", "red 0"]),
    ],
)
def test_a_composite_is_read_for_the_bands_that_are_nowhere_else(
    tmp_path: Path, assets: dict[str, str], bands: list[str]
) -> None:
    for key, names in assets.items():
        write_raster(tmp_path / f"{key}.tif", ramp((len(names.split()), 4, 5)))
    item = write_item(tmp_path, {key: asset(f"{key}.tif", *names.split()) for key, names in assets.items()})
    scene = open_scene([str(item)])
    assert [f"{band.name} {band.asset}" for band in scene.bands] == bands
    pixels = {band.name: SceneReader(scene, (band,)).read(whole((4, 5)))[0][0] for band in scene.bands}
    for band in scene.bands:
        key = Path(scene.assets[band.asset].href).stem
        at = assets[key].split().index(band.name)
        np.testing.assert_array_equal(pixels[band.name], ramp((len(assets[key].split()), 4, 5))[at])


@pytest.mark.parametrize(
    ("bands", "named"),
    [
        ({"B08": "nir", "B8A": "nir"}, ["nir", "nir08"]),  # the sensor's table tells them apart
        ({"B05": "rededge"}, ["rededge071"]),  # and says which of several is meant
        ({"a": "rededge", "b": "rededge"}, ["band1", "band2"]),  # nobody does
        ({"a": "red", "b": "red"}, ["red"]),  # one band, given twice
    ],
)
def test_two_bands_that_share_a_common_name_are_told_apart_or_get_neither(
    files: Path, bands: dict[str, str], named: list[str]
) -> None:
    described = {
        own: {**asset("red.tif"), "eo:bands": [{"name": own, "common_name": name}]} for own, name in bands.items()
    }
    assert [band.name for band in open_scene([str(write_item(files, described))]).bands] == named


def test_a_code_in_a_composite_is_no_more_than_a_position(files: Path) -> None:
    colours = [{"name": f"B{at}", "common_name": name} for at, name in enumerate(("red", "green", "blue"), start=1)]
    coastal = [{"name": "B01", "common_name": "coastal"}]
    assets = {
        "rgb": {**asset("visual.tif"), "eo:bands": colours},
        "B01": {**asset("nir.tif"), "eo:bands": coastal},
    }
    scene = open_scene([str(write_item(files, assets))])
    assert [band.name for band in scene.bands] == ["red", "green", "blue", "coastal"]


@pytest.mark.parametrize(
    ("coarse", "fine"),
    [
        ({"raster:bands": [{"spatial_resolution": 60}], "gsd": 10}, {"raster:bands": [{"spatial_resolution": 10}]}),
        ({"raster:spatial_resolution": 60}, {"raster:spatial_resolution": 10}),
        ({"proj:transform": [60, 0, 5e5, 0, -60, 5e6]}, {"proj:transform": [10, 0, 5e5, 0, -10, 5e6]}),
        ({"gsd": 60}, {"gsd": 10, "type": "image/jp2"}),
    ],
)
def test_of_a_band_in_several_resolutions_the_finest_is_read(
    files: Path, coarse: dict[str, Any], fine: dict[str, Any]
) -> None:
    item = write_item(files, {"a": {**asset("nir.tif", "red"), **coarse}, "b": {**asset("red.tif", "red"), **fine}})
    assert [Path(one.href).name for one in open_scene([str(item)]).assets] == ["red.tif"]


def test_an_unnamed_asset_is_named_by_its_key_or_taken_alone(files: Path) -> None:
    named = write_item(files, {"red": asset("red.tif"), "B08": asset("nir.tif")})
    assert [band.name for band in open_scene([str(named)]).bands] == ["red", "nir"]
    alone = write_item(files, {"image": asset("visual.tif")})
    assert len(open_scene([str(alone)]).bands) == 3


@pytest.mark.parametrize(
    ("properties", "offset"),
    [
        ({}, -0.1),
        ({"s2:processing_baseline": "02.08"}, 0.0),
        ({"processing:version": "05.00", "datetime": "2018-06-30T10:50:31Z"}, -0.1),
        ({"processing:version": "1.2", "datetime": "2018-06-30T10:50:31Z"}, 0.0),  # of some other processing
        (
            {
                "s2:product_uri": "S2A_MSIL2A_20180630T105031_N0500_R051_T31UFU_20230805T101010.SAFE",
                "datetime": "2018-06-30T10:50:31Z",
            },
            -0.1,
        ),
        ({"s2:processing_baseline": "05.09", "datetime": "2017-07-29T00:00:00Z"}, -0.1),
        ({"datetime": "2017-07-29T00:00:00Z"}, 0.0),
        ({"earthsearch:boa_offset_applied": True}, 0.0),
    ],
)
def test_the_sentinel_offset_follows_baseline_then_date(files: Path, properties: dict[str, Any], offset: float) -> None:
    bands = [{"name": "B04", "common_name": "red"}]
    path = write_item(files, {"red": {**asset("red.tif"), "eo:bands": bands}}, **properties)
    scene = open_scene([str(path)])
    assert (scene.bands[0].scale, scene.bands[0].offset) == (1e-4, offset)


@pytest.mark.parametrize(
    "said", [{"scale": 0}, {"scale": "nan"}, {"scale": "inf"}, {"scale": 10**400}, {"offset": "nan"}]
)
def test_a_scale_that_makes_nothing_of_the_numbers_is_refused(files: Path, said: dict[str, Any]) -> None:
    path = write_item(files, {"red": asset("red.tif", "red", **{"raster:bands": [said]})})
    with pytest.raises(UnreadableSceneError, match=r"red\.tif in .*item\.json has a scale of .*correct the item"):
        open_scene([str(path)])


def test_a_negative_scale_is_taken_as_it_is(files: Path) -> None:
    path = write_item(files, {"red": asset("red.tif", "red", **{"raster:bands": [{"scale": -0.5}]})})
    assert told(open_scene([str(path)])) == [("red", -0.5, 0.0, None, "item")]


@pytest.mark.parametrize(
    "said",
    [
        {"raster:bands": [{"nodata": 10**400}]},
        {"raster:bands": [{"nodata": -(10**400)}]},
        {"proj:bbox": [10**400, 0, 1, 1]},
        {"gsd": 10**400},
        {"proj:transform": [30, 0, 0, 0, -30, 0], "proj:shape": [5]},
        {"datetime": "9999-12-31T23:59:59-14:00"},
        {"datetime": "0001-01-01T00:00:00+14:00"},
    ],
)
def test_numbers_beyond_all_bounds_are_as_good_as_none(files: Path, said: dict[str, Any]) -> None:
    scene = open_scene([str(write_item(files, {"red": asset("red.tif", "red", **said)}, **said))])
    assert [band.name for band in scene.bands] == ["red"]


def test_a_landsat_item_answers_to_both_names_of_its_near_infrared(files: Path) -> None:
    scene = open_scene([str(write_item(files, {"nir08": asset("nir.tif", "nir08")}, platform="landsat-8"))])
    assert scene.band("nir") is scene.band("nir08") is not None


def test_a_landsat_items_panchromatic_band_is_left_out_unless_it_is_alone(tmp_path: Path) -> None:
    write_raster(tmp_path / "red.tif", ramp((8, 9)))
    write_raster(tmp_path / "pan.tif", ramp((15, 17)), transform=NORTH_UP @ Affine.scale(0.5))
    assets = {"pan": asset("pan.tif", "pan"), "red": asset("red.tif", "red")}
    both = open_scene([str(write_item(tmp_path, assets, platform="LANDSAT_8"))])
    assert [band.name for band in both.bands] == ["red"]
    alone = open_scene([str(write_item(tmp_path, {"pan": assets["pan"]}, platform="LANDSAT_8"))])
    assert [band.name for band in alone.bands] == ["pan"]


def test_the_item_places_a_file_that_has_no_place(tmp_path: Path) -> None:
    write_raster(tmp_path / "red.tif", ramp((8, 9)), crs=None, transform=Affine.identity())
    grid = {"proj:epsg": 32631, "proj:transform": [10, 0, 5e5, 0, -10, 5e6, 0, 0, 1], "proj:shape": [8, 9]}
    scene = open_scene([str(write_item(tmp_path, {"red": asset("red.tif", "red")}, **grid))])
    assert (scene.crs, scene.transform) == ("EPSG:32631", (10, 0, 5e5, 0, -10, 5e6))


def test_a_remote_items_assets_are_fetched_from_beside_it(files: Path) -> None:
    path, asked = write_item(files, {"red": asset("../x/red.tif", "red")}), []

    def fetch(uri: str) -> Path:
        asked.append(uri)
        return path if uri.endswith(".json") else files / "red.tif"

    scene = open_scene(["https://h/a/b/item.json"], fetch=fetch)
    assert asked == ["https://h/a/b/item.json", "https://h/a/x/red.tif"]
    assert scene.assets[0].href == "https://h/a/x/red.tif"


@pytest.mark.parametrize(
    ("href", "base", "expected"),
    [
        ("red.tif", "/data/scene/item.json", "/data/scene/red.tif"),
        ("./sub/red.tif", "/data/scene/item.json", "/data/scene/sub/red.tif"),
        ("/data/scene/red.tif", "/data/scene/item.json", "/data/scene/red.tif"),
        ("file:///data/scene/a%20b.tif", "/data/scene/item.json", "/data/scene/a b.tif"),
        ("s3://other/red.tif", "/data/scene/item.json", "s3://other/red.tif"),
        ("red.tif", "s3://bucket/a/item.json", "s3://bucket/a/red.tif"),
        ("../red.tif", "s3://bucket/a/item.json", "s3://bucket/red.tif"),
        ("/red.tif", "https://h/a/item.json", "https://h/red.tif"),
        ("red.tif", "https://h/a/item.json?token=1", "https://h/a/red.tif"),
        ("HTTPS://h/red.tif", "/data/scene/item.json", "https://h/red.tif"),
        ("a%20b.tif", "/data/scene/item.json", "/data/scene/a b.tif"),
        ("file:/data/scene/a%20b.tif", "/data/scene/item.json", "/data/scene/a b.tif"),
        ("a%20b.tif", "https://h/a/item.json", "https://h/a/a%20b.tif"),
        ("a b.tif", "https://h/a/item.json", "https://h/a/a b.tif"),
    ],
)
def test_an_href_is_resolved_against_its_item(href: str, base: str, expected: str) -> None:
    assert resolve_href(href, base) == expected


#: What a remote item may write, and would be a local path if it were taken for one.
NOWHERE = ("file:/etc/secret.tif", "data:image/tiff;base64,AA", "C:\\x.tif", "http:x.tif", "http://[bad/x.tif")


@pytest.mark.parametrize(
    ("href", "base"),
    [
        ("../secret.tif", "/data/scene/item.json"),
        ("/etc/secret.tif", "/data/scene/item.json"),
        ("file:///etc/secret.tif", "/data/scene/item.json"),
        ("/vsicurl/https://h/x.tif", "/data/scene/item.json"),
        ("ftp://h/x.tif", "/data/scene/item.json"),
        ("file:///etc/secret.tif", "https://h/item.json"),
        ("file:///etc/secret.tif", "s3://bucket/item.json"),
        ("file:/etc/secret.tif", "/data/scene/item.json"),
        ("%2e%2e/secret.tif", "/data/scene/item.json"),
        *((href, base) for href in NOWHERE for base in ("https://h/item.json", "s3://bucket/item.json")),
        *((href, "/data/scene/item.json") for href in ("http://[bad/x.tif", "a\0.tif", "a%00.tif", "\ud800.tif")),
    ],
)
def test_an_href_that_leads_away_is_refused(href: str, base: str) -> None:
    with pytest.raises(RequestError, match="name the file yourself"):
        resolve_href(href, base)


def test_a_percent_sign_in_a_files_own_name_is_found_before_what_it_could_stand_for(files: Path) -> None:
    (files / "red.tif").rename(files / "a%20b.tif")
    (files / "nir.tif").rename(files / "a b.tif")
    scene = open_scene(
        [str(write_item(files, {"red": asset("./a%20b.tif", "red"), "nir": asset("a%20b%2Etif", "nir")}))]
    )
    assert [Path(one.href).name for one in scene.assets] == ["a%20b.tif", "a b.tif"]


def test_a_refused_href_is_named_without_its_signature() -> None:
    with pytest.raises(RequestError, match=r"^ftp://h/x.tif in https://h/item.json is not") as refused:
        resolve_href("ftp://u:hush@h/x.tif?sig=hush", "https://h/item.json?token=hush")
    assert "hush" not in str(refused.value)


def test_an_item_without_a_name_is_not_called_by_its_signature(files: Path) -> None:
    path = write_item(files, {"red": asset("red.tif", "red")})
    path.write_text(path.read_text().replace('"id": "S2A_19UDP_20230729_0_L2A", ', ""))
    scene = open_scene(["https://h/item.json?sig=hush"], fetch=lambda uri: path if "item" in uri else files / "red.tif")
    assert (scene.title, scene.source) == ("item", "https://h/item.json")


def test_a_link_out_of_the_items_folder_is_refused(files: Path, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside.tif"
    write_raster(outside, ramp((8, 9)))
    (files / "link.tif").symlink_to(outside)
    with pytest.raises(RequestError, match="leads out"):
        open_scene([str(write_item(files, {"red": asset("link.tif", "red")}))])


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        '{"type": "FeatureCollection", "features": []}',
        '{"type": "Feature", "stac_version": "1.0.0"}',
        '{"type": "Feature", "stac_version": "1.0.0", "properties": {}, "assets": {}}',
        '{"type": "Feature", "stac_version": "1.0.0", "properties": [], "assets": {"a": 3}}',
        '{"type": "Feature", "stac_version": "1.0.0", "properties": {}, "assets": {"a": {"href": 3}, "b": null}}',
        "{" * 100_000,
    ],
)
def test_json_that_is_no_scene_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "item.json"
    path.write_text(text)
    with pytest.raises(UnreadableSceneError):
        open_scene([str(path)])


@pytest.mark.parametrize("value", [3, "x", [], {}, None, [None], [3], {"name": 1}, float("nan"), "nan", True])
def test_nonsense_in_an_item_is_ignored_or_refused_but_never_a_crash(files: Path, value: Any) -> None:
    keys = (
        "eo:bands",
        "raster:bands",
        "bands",
        "roles",
        "type",
        "proj:epsg",
        "proj:transform",
        "proj:shape",
        "proj:bbox",
        "gsd",
        "raster:spatial_resolution",
    )
    for key in keys:
        path = write_item(files, {"red": {**asset("red.tif", "red"), key: value}}, **{key: value, "datetime": value})
        with contextlib.suppress(SwathError):
            assert open_scene([str(path)]).bands
