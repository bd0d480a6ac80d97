"""Items as the providers write them: each has all the bands of its files, under the names and scales of those files.

For the next provider: copy an item's properties and what its assets say of their bands, and tell what to expect.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rasterio.transform import Affine

from services.core.raster.open import open_scene
from services.core.records import Scene
from tests.rasters import NORTH_UP, ramp, write_raster

TIFF = "image/tiff; application=geotiff; profile=cloud-optimized"
METRES = {**dict.fromkeys(("B01", "B09"), 60), **dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12"), 20)}
NAMES = {
    "B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge071", "B06": "rededge075",
    "B07": "rededge078", "B08": "nir", "B8A": "nir08", "B09": "nir09", "B11": "swir16", "B12": "swir22",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Provided:
    """One provider's item: files by href, what is said of each, and the bands that must come of it."""

    title: str
    properties: Mapping[str, Any]
    assets: Mapping[str, Mapping[str, Any]]
    bands: tuple[str, ...]
    scale: tuple[float, float, str]
    version: str = "1.0.0"
    fetched: tuple[str, ...] = ()  #: hrefs, where there are others that must not be read
    more: Mapping[str, tuple[float, float, str]] = field(default_factory=dict)  #: scales of bands of another kind


def sentinel_asset(code: str, href: str, name: str, common: str | None, **more: Any) -> dict[str, Any]:
    band = {"name": name, "description": f"Band {code}", **({"common_name": common} if common else {})}
    return {"href": href, "type": TIFF, "roles": ["data"], "gsd": METRES.get(code, 10), "eo:bands": [band], **more}


def loose(name: str) -> str:
    """What Element84 and others call a red edge, each of the three."""
    return "rededge" if name.startswith("rededge") else name


def element84_v1() -> Provided:
    """https://earth-search.aws.element84.com/v1/collections/sentinel-2-l2a: keys are names, the offset is listed."""
    keys = {**NAMES, "B05": "rededge1", "B06": "rededge2", "B07": "rededge3"}
    raster = {"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": -0.1}
    said = {"roles": ["data", "reflectance"], "raster:bands": [raster]}
    assets = {key: sentinel_asset(code, f"{code}.tif", key, loose(NAMES[code]), **said) for code, key in keys.items()}
    jp2 = {f"{key}-jp2": {**one, "href": "no.jp2", "type": "image/jp2"} for key, one in assets.items()}
    layers = {"aot": {"href": "no.tif", "type": TIFF, **said}, "scl": {"href": "no.tif", "type": TIFF, **said}}
    properties = {
        "datetime": "2023-01-01T10:54:41Z",
        "platform": "sentinel-2b",
        "s2:processing_baseline": "05.09",
        "earthsearch:boa_offset_applied": True,
    }
    return Provided(
        title="S2B_31TFJ_20230101_0_L2A",
        properties=properties,
        assets={**layers, **assets, **jp2},
        bands=tuple(NAMES.values()),
        scale=(1e-4, 0.0, "item"),
    )


def element84_v0() -> Provided:
    """Its collection `sentinel-s2-l2a-cogs`: keys are codes, no scales, and properties called `sentinel:`."""
    properties = {
        "datetime": "2022-06-29T10:56:35Z",
        "platform": "sentinel-2a",
        "gsd": 10,
        "sentinel:product_id": "S2A_MSIL2A_20220629T104631_N0400_R051_T31UFU_20220629T170417",
        "sentinel:processing_baseline": "04.00",
        "sentinel:boa_offset_applied": True,
    }
    picture = {"href": "no.tif", "type": TIFF, "roles": ["overview"], "eo:bands": [{"name": "B04"}]}
    return Provided(
        title="S2A_31UFU_20220629_0_L2A",
        version="1.0.0-beta.2",
        properties=properties,
        assets={
            "visual": picture,
            **{code: sentinel_asset(code, f"{code}.tif", code, loose(name)) for code, name in NAMES.items()},
        },
        bands=tuple(NAMES.values()),
        scale=(1e-4, 0.0, "item"),
    )


def planetary_computer() -> Provided:
    """https://planetarycomputer.microsoft.com: B8A is a red edge too, B09 nothing, and the picture says it is data."""
    common = {**{code: loose(name) for code, name in NAMES.items()}, "B8A": "rededge", "B09": None}
    stem = "T31TFJ_20230101T105441"
    colours = [{"name": code, "common_name": NAMES[code]} for code in ("B04", "B03", "B02")]
    return Provided(
        title="S2B_MSIL2A_20230101T105441_R051_T31TFJ_20230102T000000",
        properties={
            "datetime": "2023-01-01T10:54:41Z",
            "platform": "Sentinel-2B",
            "s2:processing_baseline": "05.09",
        },
        assets={
            "AOT": {"href": "no.tif", "type": TIFF, "roles": ["data"], "gsd": 10},
            **{
                code: sentinel_asset(code, f"{stem}_{code}_{METRES.get(code, 10)}m.tif", code, common[code])
                for code in NAMES
            },
            "visual": {"href": "no.tif", "type": TIFF, "roles": ["data"], "eo:bands": colours},
        },
        bands=tuple(NAMES.values()),
        scale=(1e-4, -0.1, "sensor"),
    )


def copernicus() -> Provided:
    """https://stac.dataspace.copernicus.eu/v1: STAC 1.1, each band at its own resolution and all coarser ones.

    Its files are JPEG 2000; here, GeoTIFF serves.
    """
    assets = {
        f"{code}_{metres}m": {
            "href": f"T31UES_20250901T105041_{code}_{metres}m.tif",
            "type": "image/tiff",
            "roles": ["data", "reflectance", f"gsd:{metres}m"],
            "gsd": metres,
            "nodata": 0,
            "raster:scale": 0.0001,
            "raster:offset": -0.1,
            "bands": [{"name": code, "eo:common_name": name}],
        }
        for code, name in NAMES.items()
        for metres in (60, 20, 10)
        if metres >= METRES.get(code, 10)
    }
    layers = {"WVP_10m": {"href": "no.tif", "type": "image/tiff", "roles": ["data", "gsd:10m"], "raster:scale": 0.001}}
    return Provided(
        title="S2A_MSIL2A_20250901T105041_N0511_R051_T31UES_20250901T150000",
        version="1.1.0",
        properties={"datetime": "2025-09-01T10:50:41Z", "platform": "sentinel-2a", "processing:version": "05.11"},
        assets={**layers, **assets},
        bands=tuple(NAMES.values()),
        scale=(1e-4, -0.1, "item"),
        fetched=tuple(f"T31UES_20250901T105041_{code}_{METRES.get(code, 10)}m.tif" for code in NAMES),
    )


def landsat_asset(title: str, file: str, name: str, common: str) -> dict[str, Any]:
    band = {"name": name, "common_name": common, "gsd": 30}
    kind = "image/vnd.stac.geotiff; cloud-optimized=true"
    return {"href": f"{title}_{file}.TIF", "type": kind, "roles": ["data"], "eo:bands": [band]}


def usgs() -> Provided:
    """https://landsatlook.usgs.gov/stac-server: no scales; that it is Level 2 stands in the files' names."""
    title = "LC08_L2SP_044033_20210330_20210409_02_T1"
    bands = {"coastal": "B1", "blue": "B2", "green": "B3", "red": "B4", "nir08": "B5", "swir16": "B6", "swir22": "B7"}
    return Provided(
        title=f"{title}_SR",
        properties={"datetime": "2021-03-30T18:45:00Z", "platform": "LANDSAT_8", "instruments": ["OLI", "TIRS"]},
        assets={
            **{common: landsat_asset(title, f"SR_{code}", code, common) for common, code in bands.items()},
            "lwir11": landsat_asset(title, "ST_B10", "B10", "lwir11"),
            "qa_pixel": {"href": "no.TIF", "type": TIFF, "roles": ["cloud", "cloud-shadow"]},
        },
        bands=(*bands, "lwir11"),
        scale=(2.75e-5, -0.2, "sensor"),
        more={"lwir11": (0.00341802, 149.0, "sensor")},
    )


def open_item(folder: Path, provided: Provided) -> Scene:
    """With a file for each href but those called `no`, which must not be read."""
    for asset in provided.assets.values():
        if not asset["href"].startswith("no."):
            coarser = asset.get("gsd", 10) // 10
            grid = NORTH_UP @ Affine.scale(coarser)
            write_raster(folder / asset["href"], ramp((12 // coarser, 18 // coarser)), transform=grid)
    value = {"type": "Feature", "stac_version": provided.version, "id": provided.title, "geometry": None, "links": []}
    path = folder / "item.json"
    path.write_text(json.dumps({**value, "properties": provided.properties, "assets": provided.assets}))
    return open_scene([str(path)])


@pytest.mark.parametrize(
    "provided",
    [element84_v1(), element84_v0(), planetary_computer(), copernicus(), usgs()],
    ids=["element84-v1", "element84-v0", "planetary-computer", "copernicus", "usgs"],
)
def test_an_items_bands_are_those_of_its_files(tmp_path: Path, provided: Provided) -> None:
    scene = open_item(tmp_path, provided)
    assert tuple(band.name for band in scene.bands) == provided.bands
    for band in scene.bands:
        expected = provided.more.get(band.name, provided.scale)
        assert (band.scale, band.offset, band.scale_source) == expected, band.name
    if provided.fetched:
        assert tuple(Path(asset.href).name for asset in scene.assets) == provided.fetched
    if provided.scale[2] == "sensor":
        (tmp_path / "item.json").unlink()
        alone = [(band.name, band.alias, band.scale, band.offset) for band in open_scene([str(tmp_path)]).bands]
        assert sorted(alone) == sorted((band.name, band.alias, band.scale, band.offset) for band in scene.bands)
