"""Ingest of synthetic files: georeference, grids, folders, names, digests."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.control import GroundControlPoint
from rasterio.rpc import RPC
from rasterio.transform import Affine

from services.core.errors import (
    BandMismatchError,
    GeoreferenceError,
    ObjectNotFoundError,
    RequestError,
    SwathError,
    UnreadableSceneError,
)
from services.core.grid import whole
from services.core.raster.open import OpenOptions, open_scene
from services.core.raster.place import spot_of
from services.core.raster.read import SceneReader
from services.core.records import Scene
from tests.rasters import NORTH_UP, ramp, write_raster

BOUNDS = (500_000.0, 4_999_600.0, 500_500.0, 5_000_000.0)  # of 40 by 50 pixels of 10 m


def pixel_of(scene: Scene, lon: float, lat: float) -> tuple[int, int]:
    row, col = spot_of(scene, lon, lat)
    return math.floor(row), math.floor(col)


def scene_of(path: Path, **options: Any) -> Scene:
    return open_scene([str(path)], options=OpenOptions(**options))


@pytest.mark.parametrize(
    "transform",
    [
        Affine(10, 0, 500_000, 0, 10, 4_999_600),  # south-up
        Affine(-10, 0, 500_500, 0, -10, 5_000_000),  # east-left
        NORTH_UP @ Affine.rotation(30),
        NORTH_UP @ Affine.shear(20),
    ],
)
def test_any_grid_that_can_be_placed_is_processed(tmp_path: Path, transform: Affine) -> None:
    scene = scene_of(write_raster(tmp_path / "a.tif", ramp((40, 50)), transform=transform))
    assert scene.transform == tuple(transform)[:6]
    assert scene.gsd_m == pytest.approx(10, rel=1e-9)
    assert scene.bbox is not None
    assert scene.bbox[0] < scene.bbox[2]
    lon, lat = (scene.bbox[0] + scene.bbox[2]) / 2, (scene.bbox[1] + scene.bbox[3]) / 2
    row, col = pixel_of(scene, lon, lat)
    assert abs(row - 20) <= 1
    assert abs(col - 25) <= 1


@pytest.mark.parametrize(
    ("profile", "why"),
    [
        ({"crs": None}, "no coordinate reference system"),
        ({"transform": Affine.identity()}, "nothing about where"),
        ({"transform": Affine(10, 0, 0, 10, 0, 0)}, "no area"),
        ({"transform": Affine(10, 0, math.nan, 0, -10, 0)}, "not finite"),
        ({"crs": 'LOCAL_CS["mine",UNIT["metre",1]]'}, "local"),
        ({"crs": "EPSG:4978"}, "geocentric"),
    ],
)
def test_what_cannot_be_placed_is_refused(tmp_path: Path, profile: dict[str, Any], why: str) -> None:
    path = write_raster(tmp_path / "a.tif", ramp((40, 50)), **profile)
    with pytest.raises(GeoreferenceError, match=why):
        scene_of(path)


def test_ground_control_points_alone_are_refused(tmp_path: Path) -> None:
    gcps = [GroundControlPoint(row, col, 5e5 + col * 10, 5e6 - row * 10) for row, col in ((0, 0), (0, 50), (40, 0))]
    path = write_raster(tmp_path / "a.tif", ramp((40, 50)), transform=None, crs="EPSG:32631", gcps=gcps)
    with pytest.raises(GeoreferenceError, match=r"ground control points only; orthorectify"):
        scene_of(path, crs="EPSG:32631", bounds=BOUNDS)


def test_rpcs_alone_are_refused(tmp_path: Path) -> None:
    ones = [1.0] * 20
    rpcs = RPC(0, 1, 45, 1, ones, ones, 20, 40, 5, 1, ones, ones, 25, 50)
    path = write_raster(tmp_path / "a.tif", ramp((40, 50)), transform=Affine.identity(), crs=None, rpcs=rpcs)
    with pytest.raises(GeoreferenceError, match=r"RPC coefficients only; orthorectify"):
        scene_of(path)


def test_the_user_may_place_what_has_no_place(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", ramp((40, 50)), crs=None, transform=Affine.identity())
    scene = scene_of(path, crs="EPSG:32631", bounds=BOUNDS)
    assert (scene.crs, scene.transform) == ("EPSG:32631", tuple(NORTH_UP)[:6])


@pytest.mark.parametrize(
    ("crs", "bounds", "why"),
    [
        ("EPSG:32632", BOUNDS, "says it is in EPSG:32631, not EPSG:32632"),
        ("EPSG:32631", (0.0, 0.0, 500.0, 400.0), "not the bounds given"),
    ],
)
def test_the_user_may_not_contradict_the_file(tmp_path: Path, crs: str, bounds: Any, why: str) -> None:
    path = write_raster(tmp_path / "a.tif", ramp((40, 50)))
    with pytest.raises(GeoreferenceError, match=why):
        scene_of(path, crs=crs, bounds=bounds)
    assert scene_of(path, crs="EPSG:32631", bounds=BOUNDS).crs == "EPSG:32631"


@pytest.mark.parametrize(
    "options",
    [{"crs": "EPSG:999999", "bounds": BOUNDS}, {"crs": "EPSG:32631", "bounds": (5.0, 0.0, 1.0, 9.0)}],
)
def test_a_place_that_makes_no_sense_is_the_users_mistake(tmp_path: Path, options: dict[str, Any]) -> None:
    path = write_raster(tmp_path / "a.tif", ramp((40, 50)), crs=None, transform=Affine.identity())
    with pytest.raises(RequestError):
        scene_of(path, **options)


@pytest.mark.parametrize(
    ("crs", "transform", "gsd_m"),
    [
        ("EPSG:2263", Affine(10, 0, 1_000_000, 0, -10, 200_000), 3.048006),  # US survey feet
        ("EPSG:4326", Affine(0.001, 0, 10, 0, -0.001, 60), 78.6),  # sqrt(111.2 * 55.6)
        ("EPSG:3857", Affine(10, 0, 1e6, 0, -10, 8_399_737.9), 5.0),  # 60 degrees north
    ],
)
def test_pixel_size_is_metres_on_the_ground(tmp_path: Path, crs: str, transform: Affine, gsd_m: float) -> None:
    scene = scene_of(write_raster(tmp_path / "a.tif", ramp((4, 5)), crs=crs, transform=transform))
    assert scene.gsd_m == pytest.approx(gsd_m, rel=5e-3)


@pytest.mark.parametrize(
    ("shape", "transform", "crs", "why"),
    [
        ((20, 25), NORTH_UP @ Affine.translation(3, 0) @ Affine.scale(2), None, "covers other ground"),
        ((21, 25), NORTH_UP @ Affine.scale(2), None, "no whole fraction"),
        ((20, 25), NORTH_UP @ Affine.scale(2), "EPSG:32632", "another coordinate reference system"),
        ((40, 50), Affine(10, 0, 500_000, 0, 10, 4_999_600), None, "covers other ground"),  # upside down
    ],
)
def test_bands_on_another_grid_are_refused(
    tmp_path: Path, shape: tuple[int, int], transform: Affine, crs: str | None, why: str
) -> None:
    write_raster(tmp_path / "B04.tif", ramp((40, 50)))
    write_raster(tmp_path / "B11.tif", ramp(shape), transform=transform, crs=crs or "EPSG:32631")
    with pytest.raises(BandMismatchError, match=why):
        scene_of(tmp_path)


def test_a_shift_of_less_than_half_a_fine_pixel_is_one_grid(tmp_path: Path) -> None:
    write_raster(tmp_path / "B04.tif", ramp((40, 50)))
    write_raster(
        tmp_path / "B11.tif", ramp((20, 25)), transform=NORTH_UP @ Affine.translation(0.4, 0) @ Affine.scale(2)
    )
    assert scene_of(tmp_path).shape == (40, 50)


@pytest.mark.parametrize(("shift_px", "fits"), [((0, 0.5), True), ((0, 1.4), False), ((1.4, 0), False)])
def test_a_shift_is_counted_in_pixels_also_where_they_are_not_square(
    tmp_path: Path, shift_px: tuple[float, float], fits: bool
) -> None:
    wide = Affine(0.03, 0, 20, 0, -0.01, 70)
    for name, transform in (("B02", wide), ("B03", wide @ Affine.translation(*shift_px))):
        write_raster(tmp_path / f"{name}.tif", ramp((40, 50)), crs="EPSG:4326", transform=transform)
    if fits:
        assert scene_of(tmp_path).shape == (40, 50)
    else:
        with pytest.raises(BandMismatchError, match="covers other ground"):
            scene_of(tmp_path)


@pytest.mark.parametrize("suffix", [".SAFE", ""])
def test_a_sentinel_folder_gives_each_band_once_at_its_finest(tmp_path: Path, suffix: str) -> None:
    product = f"S2A_MSIL2A_20180729T153551_N0500_R068_T19UDP_20230729T200000{suffix}"  # made again by a newer baseline
    image = tmp_path / product / "GRANULE" / "L2A" / "IMG_DATA"
    for metres in (10, 20, 60):
        folder = image / f"R{metres}m"
        folder.mkdir(parents=True)
        for name in ("B04", "B8A", "SCL", "TCI") if metres > 10 else ("B02", "B04", "TCI"):
            pixels = ramp((240 // metres, 120 // metres))
            write_raster(
                folder / f"T19UDP_20180729T153551_{name}_{metres}m.tif",
                pixels,
                transform=NORTH_UP @ Affine.scale(metres / 10),
            )
    scene = scene_of(image.parents[2])
    assert [(b.name, b.alias, scene.assets[b.asset].shape) for b in scene.bands] == [
        ("blue", "B02", (24, 12)),
        ("red", "B04", (24, 12)),
        ("nir08", "B8A", (12, 6)),
    ]
    assert {(b.scale, b.offset, b.scale_source, b.nodata) for b in scene.bands} == {(1e-4, -0.1, "sensor", 0.0)}
    assert scene.acquired_at is not None
    assert scene.acquired_at.isoformat() == "2018-07-29T15:35:51+00:00"
    assert scene.id.startswith("s2a-msil2a-20180729t153551-n0500-r068-t1")


@pytest.mark.parametrize("named", ["granule", "product", "files"])
def test_a_sentinel_product_of_the_first_years_was_taken_when_its_folder_says(tmp_path: Path, named: str) -> None:
    product = tmp_path / "S2A_OPER_PRD_MSIL1C_PDMC_20161011T121503_R022_V20150813T101026_20150813T101026.SAFE"
    image = product / "GRANULE" / "S2A_OPER_MSI_L1C_TL_EPA__20161011T103026_A000734_T32TQM_N02.04" / "IMG_DATA"
    image.mkdir(parents=True)
    files = {
        name: write_raster(image / f"S2A_OPER_MSI_L1C_TL_EPA__20161011T103026_A000734_T32TQM_{name}.tif", ramp((4, 5)))
        for name in ("B04", "B08")
    }
    if named == "files":
        scene = open_scene([], options=OpenOptions(bands={name: str(path) for name, path in files.items()}))
    else:
        scene = scene_of(product if named == "product" else image.parent)
    assert [(b.name, b.scale, b.offset) for b in scene.bands] == [("red", 1e-4, 0.0), ("nir", 1e-4, 0.0)]
    assert str(scene.acquired_at) == "2015-08-13 10:10:26+00:00"


def test_a_scanner_of_landsat_5_is_told_by_its_files_names(tmp_path: Path) -> None:
    stem = "LM05_L1TP_024032_19920730_20180217_01_T1"
    for name in ("B1", "B4"):
        write_raster(tmp_path / f"{stem}_{name}.TIF", ramp((4, 5), "uint8"))
    said = 'SPACECRAFT_ID = "LANDSAT_5"\nDATE_ACQUIRED = 1992-07-30\nSCENE_CENTER_TIME = "15:10:03.0760190Z"\n'
    group = f"GROUP = PRODUCT_METADATA\n{said}END_GROUP = PRODUCT_METADATA\n"
    (tmp_path / f"{stem}_MTL.txt").write_text(f"GROUP = L1_METADATA_FILE\n{group}END_GROUP = L1_METADATA_FILE\nEND\n")
    scene = scene_of(tmp_path)
    assert [b.name for b in scene.bands] == ["green", "nir09"]
    assert str(scene.acquired_at) == "1992-07-30 00:00:00+00:00"


def test_a_landsat_folder_leaves_quality_and_pan_out(tmp_path: Path) -> None:
    stem = "LC08_L2SP_016037_20170813_20200903_02_T1"
    for name in ("SR_B1", "SR_B4", "SR_B5", "ST_B10", "QA_PIXEL", "SR_QA_AEROSOL", "ST_EMIS", "B8"):
        write_raster(tmp_path / f"{stem}_{name}.TIF", ramp((40, 50)))
    scene = scene_of(tmp_path)
    assert [(b.name, b.alias, b.scale) for b in scene.bands] == [
        ("coastal", "B1", 2.75e-5),
        ("red", "B4", 2.75e-5),
        ("nir08", "B5", 2.75e-5),
        ("lwir11", "B10", 0.00341802),
    ]
    assert scene.band("nir") == scene.band("NIR08") == scene.band("b5")


@pytest.mark.parametrize(
    ("names", "why"),
    [
        ([], "holds no GeoTIFF"),
        (["a", "b"], "do not tell their bands"),
        (["T19UDP_20170729T153551_B04", "T19UDP_20180729T153551_B04"], "more than one B04"),
    ],
)
def test_a_folder_that_is_no_scene_is_refused(tmp_path: Path, names: list[str], why: str) -> None:
    for name in names:
        write_raster(tmp_path / f"{name}.tif", ramp((4, 5)))
    with pytest.raises(UnreadableSceneError, match=why):
        scene_of(tmp_path)


def test_landcover_bands_are_known_by_which_are_there(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", ramp((6, 4, 5)), descriptions=("B1", "B2", "B3", "B4", "B5", "B7"))
    scene = scene_of(path)
    assert [b.name for b in scene.bands] == ["blue", "green", "red", "nir", "swir16", "swir22"]
    assert scene.band("nir08") == scene.band("nir") == scene.band("B4")


def test_an_ambiguous_code_keeps_its_own_name_and_is_missing_later(tmp_path: Path) -> None:
    scene = scene_of(write_raster(tmp_path / "a.tif", ramp((3, 4, 5)), descriptions=("B2", "B3", "B4")))
    assert [(b.name, b.alias) for b in scene.bands] == [("b2", "B2"), ("b3", "B3"), ("b4", "B4")]
    assert scene.band("red") is None


@pytest.mark.parametrize(
    ("descriptions", "names"),
    [
        (("Red", "near infrared", "My Band"), ["red", "nir", "my band"]),
        (("red", "red", "blue"), ["band1", "band2", "blue"]),
        ((None, None, None), ["band1", "band2", "band3"]),
    ],
)
def test_names_come_from_descriptions_and_never_twice(tmp_path: Path, descriptions: Any, names: list[str]) -> None:
    path = write_raster(
        tmp_path / "a.tif", ramp((3, 4, 5), "float32"), descriptions=descriptions, photometric="minisblack"
    )
    assert [b.name for b in scene_of(path).bands] == names


def test_the_user_names_bands_in_order_or_one_by_one(tmp_path: Path) -> None:
    many = write_raster(tmp_path / "many.tif", ramp((2, 4, 5)))
    one = write_raster(tmp_path / "one.tif", ramp((4, 5)))
    assert [b.name for b in scene_of(many, names=("nir", "Mine")).bands] == ["nir", "mine"]
    alone = open_scene([], options=OpenOptions(bands={"swir1": str(one), "B04": str(one)}))
    assert [(b.name, b.alias) for b in alone.bands] == [("swir16", None), ("red", "B04")]


@pytest.mark.parametrize(
    ("sources", "options"),
    [
        (["many.tif"], {"names": ("a",)}),
        (["many.tif"], {"names": ("a", "a")}),
        (["many.tif"], {"bands": {"red": "many.tif"}}),
        (["many.tif", "many.tif"], {"names": ("a", "b", "c", "d")}),
        ([], {}),
        (["ftp://host/x.tif"], {}),
        (["s3://bucket/x.tif"], {}),  # remote, and nobody to fetch
        (["."], {"names": ("a",)}),
    ],
)
def test_arguments_that_make_no_sense_together_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sources: list[str], options: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_raster(tmp_path / "many.tif", ramp((2, 4, 5)))
    with pytest.raises(RequestError):
        open_scene(sources, options=OpenOptions(**options))


def test_a_remote_file_is_fetched_and_remembered_by_its_address(tmp_path: Path) -> None:
    local = write_raster(tmp_path / "cached.tif", ramp((4, 5)))
    scene = open_scene(["s3://bucket/scene.tif"], fetch=lambda _: local)
    assert (scene.assets[0].href, scene.source, scene.title) == (
        "s3://bucket/scene.tif",
        "s3://bucket/scene.tif",
        "scene",
    )


@pytest.mark.parametrize(
    "name",
    ["with space.tif", "ünïcödé.tif", "100%.tif", "what?.tif", "a#b.tif", "GTIFF_DIR:1:x.tif", "-dash.tif", "a,b.tif"],
)
def test_a_file_may_have_any_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    write_raster(tmp_path / "plain.tif", ramp((4, 5))).rename(tmp_path / name)
    scene = open_scene([name])
    assert scene.assets[0].href == str(tmp_path / name)
    np.testing.assert_array_equal(SceneReader(scene, scene.bands).read(whole((4, 5)))[0][0], ramp((4, 5)))


@pytest.mark.parametrize(
    "name", ["/vsizip/x.zip/y.tif", "/vsicurl/http://h/x.tif", "GTIFF_DIR:1:x.tif", "x\0.tif", "a" * 300]
)
def test_names_that_gdal_would_interpret_are_only_paths(name: str) -> None:
    with pytest.raises(SwathError) as refused:
        open_scene([name])
    assert isinstance(refused.value, ObjectNotFoundError | RequestError)


@pytest.mark.parametrize("name", [b"bad\xff.tif", b"bad\xff/a.tif", b"missing\xff.tif"])
def test_a_name_that_is_not_utf_8_is_refused(tmp_path: Path, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    path.parent.mkdir(exist_ok=True)
    if b"missing" not in name:
        write_raster(tmp_path / "a.tif", ramp((4, 5))).rename(path)
    for source in (path, path.parent) if path.parent != tmp_path else (path,):
        with pytest.raises(RequestError, match=r"\\udcff.*is a name that is not UTF-8; rename the file or its folder"):
            scene_of(source)


def test_equal_content_has_one_digest_wherever_it_lies(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    one = scene_of(write_raster(tmp_path / "a.tif", ramp((4, 5))))
    other = scene_of(write_raster(tmp_path / "sub" / "a.tif", ramp((4, 5))))
    assert (one.digest, one.id) == (other.digest, other.id)
    assert len(one.id) <= 51


def test_a_sidecar_that_changes_pixels_changes_the_digest(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", ramp((4, 5)))
    before = scene_of(path)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="NO"), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(ramp((4, 5)) > 3)
    after = scene_of(path)
    assert after.assets[0].sidecars == (str(path) + ".msk",)
    assert after.digest != before.digest


def test_a_world_file_is_obeyed_and_belongs_to_the_scene(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", ramp((4, 5)), transform=None)
    (tmp_path / "a.tfw").write_text("10\n0\n0\n-10\n500005\n4999995\n")
    scene = scene_of(path)
    assert scene.transform == tuple(NORTH_UP)[:6]
    assert scene.assets[0].sidecars == (str(tmp_path / "a.tfw"),)


def test_a_scene_comes_back_from_json(tmp_path: Path) -> None:
    scene = scene_of(write_raster(tmp_path / "a.tif", ramp((4, 5), "float32"), nodata=math.nan))
    again = Scene.model_validate_json(scene.model_dump_json())
    assert again.model_dump_json() == scene.model_dump_json()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_the_installations_fault(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", ramp((4, 5)))
    path.chmod(0)
    with pytest.raises(SwathError, match="may not be read"):
        scene_of(path)
