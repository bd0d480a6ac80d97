"""Outlines in degrees: the antimeridian, the poles, other planets."""

import math
from typing import Any

import pytest
import shapely
from rasterio.crs import CRS
from rasterio.transform import Affine

from services.core.errors import GeoreferenceError, WindowError
from services.core.raster.footprint import ground_aspect, ground_gsd_m, plan_footprint
from services.core.raster.georef import Place
from services.core.raster.place import spot_of, transform_points
from services.core.records import Scene

MARS = 'PROJCS["m",GEOGCS["GCS_MARS",DATUM["D_MARS",SPHEROID["MARS",3396190,0]],PRIMEM["R",0],UNIT["degree",0.0174532925]],PROJECTION["Equirectangular"],PARAMETER["standard_parallel_1",0],PARAMETER["central_meridian",0],UNIT["metre",1]]'  # fmt: skip  # noqa: E501
MARS_DEGREES = MARS[MARS.index("GEOGCS") : MARS.index(",PROJECTION")]


def pixel_of(scene: Scene, lon: float, lat: float) -> tuple[int, int]:
    row, col = spot_of(scene, lon, lat)
    return math.floor(row), math.floor(col)


def place(crs: str, transform: Affine, shape: tuple[int, int] = (100, 100)) -> Place:
    return Place(crs=CRS.from_user_input(crs), transform=transform, shape=shape)


def outline(where: Place) -> tuple[Any, tuple[float, float, float, float]]:
    geometry, bbox = plan_footprint(where)
    assert geometry is not None
    assert bbox is not None
    return shapely.geometry.shape(geometry), bbox


def test_an_ordinary_scene_is_one_counter_clockwise_polygon() -> None:
    shape, bbox = outline(place("EPSG:32631", Affine(1000, 0, 450_000, 0, -1000, 5_050_000)))
    assert shape.geom_type == "Polygon"
    assert shape.exterior.is_ccw
    assert shape.is_valid
    assert bbox == pytest.approx(shape.bounds)


@pytest.mark.parametrize(("crs", "left"), [("EPSG:32601", 220_000), ("EPSG:32660", 690_000), ("EPSG:32701", 220_000)])
def test_a_scene_across_the_antimeridian_is_split_there(crs: str, left: float) -> None:
    shape, (west, south, east, north) = outline(place(crs, Affine(1000, 0, left, 0, -1000, 5_000_000)))
    assert shape.geom_type == "MultiPolygon"
    assert west > east
    assert (shape.bounds[0], shape.bounds[2]) == (-180, 180)
    assert shape.area == pytest.approx((east + 360 - west) * (north - south), rel=0.1)
    assert all(part.is_valid and part.exterior.is_ccw for part in shape.geoms)


def test_longitudes_from_0_to_360_are_brought_home() -> None:
    shape, bbox = outline(place("EPSG:4326", Affine(1, 0, 170, 0, -1, 10), (20, 20)))
    assert bbox == (170, -10, -170, 10)
    assert shape.area == pytest.approx(400)


@pytest.mark.parametrize("left", [-180, 0])
def test_the_whole_earth_is_the_whole_earth(left: float) -> None:
    shape, bbox = outline(place("EPSG:4326", Affine(1, 0, left, 0, -1, 90), (180, 360)))
    assert bbox == (-180, -90, 180, 90)
    assert shape.area == pytest.approx(360 * 180)


@pytest.mark.parametrize(
    ("crs", "pole"), [("EPSG:3413", 90), ("EPSG:3031", -90), ("EPSG:6931", 90), ("EPSG:6932", -90)]
)
def test_a_scene_over_a_pole_reaches_it_all_around(crs: str, pole: float) -> None:
    shape, bbox = outline(place(crs, Affine(10_000, 0, -500_000, 0, -10_000, 500_000)))
    assert (bbox[0], bbox[2]) == (-180, 180)
    assert pole in (bbox[1], bbox[3])
    assert shape.contains(shapely.Point(77, pole * 0.99))
    assert shape.is_valid


@pytest.mark.parametrize("crs", ["EPSG:6931", "EPSG:6932"])
@pytest.mark.parametrize("off_m", [0, 12_500, 300_000])
def test_pixels_on_and_about_a_pole_have_their_size(crs: str, off_m: float) -> None:
    grid = place(crs, Affine(25_000, 0, off_m - 1_250_000, 0, -25_000, 1_250_000))
    assert ground_gsd_m(grid) == pytest.approx(25_000, rel=1e-3)


def test_a_full_disk_whose_corners_miss_the_earth_has_no_outline() -> None:
    disk = place("+proj=geos +h=35785831 +lon_0=0", Affine(110_000, 0, -5_500_000, 0, -110_000, 5_500_000))
    assert plan_footprint(disk) == (None, None)
    assert ground_gsd_m(disk) == pytest.approx(110_000, rel=0.02)


def test_another_planet_has_no_outline_but_pixels_of_a_size() -> None:
    mars = place(MARS, Affine(5, 0, 0, 0, -5, 0))
    assert plan_footprint(mars) == (None, None)
    assert ground_gsd_m(mars) == 5


def test_degrees_of_another_planet_are_metres_by_its_own_radius() -> None:
    degrees = place(MARS_DEGREES, Affine(0.01, 0, 0, 0, -0.01, 0.5))
    assert ground_gsd_m(degrees) == pytest.approx(math.radians(0.01) * 3_396_190, rel=1e-3)


@pytest.mark.parametrize(
    ("crs", "transform", "aspect"),
    [
        ("EPSG:32631", Affine(10, 0, 500_000, 0, -10, 7_000_000), 1),
        ("EPSG:32631", Affine(10, 0, 500_000, 0, -20, 7_000_000), 0.5),
        ("EPSG:32631", Affine.translation(500_000, 7_000_000) @ Affine.rotation(30) @ Affine.scale(20, -10), 2),
        ("EPSG:3857", Affine(10, 0, 0, 0, -10, 9_000_000), 1),
        ("EPSG:4326", Affine(1e-4, 0, 25, 0, -1e-4, 60), 0.5),
        ("EPSG:4326", Affine(1e-4, 0, 25, 0, -1e-4, 5), 1),
        ("EPSG:4326", Affine(0.1, 0, 0, 0, -0.1, 95), 1),  # its centre is a pole
        (MARS, Affine(5, 0, 0, 0, -10, 0), 0.5),
        (MARS_DEGREES, Affine(0.01, 0, 0, 0, -0.01, 60.5), 0.5),
    ],
)
def test_a_pixel_is_as_wide_per_height_as_on_the_ground(crs: str, transform: Affine, aspect: float) -> None:
    assert ground_aspect(place(crs, transform)) == pytest.approx(aspect, rel=1e-2)


def scene(crs: str, transform: Affine, shape: tuple[int, int] = (100, 100)) -> Scene:
    a, b, c, d, e, f = tuple(transform)[:6]
    blank: dict[str, Any] = {
        "id": "s",
        "title": "s",
        "source": "s",
        "digest": "0",
        "assets": (),
        "bands": (),
        "gsd_m": 1,
    }
    return Scene(**blank, shape=shape, crs=crs, transform=(a, b, c, d, e, f))


@pytest.mark.parametrize(
    ("where", "lon", "lat", "pixel"),
    [
        (scene("EPSG:4326", Affine(1, 0, 0, 0, -1, 50)), 3.5, 48.5, (1, 3)),
        (scene("EPSG:4326", Affine(1, 0, 170, 0, -1, 10)), -179.5, 9.5, (0, 10)),  # counted past 180
        (scene("EPSG:4326", Affine(1, 0, 0, 0, 1, 0)), 0.0, 0.0, (0, 0)),  # south-up, on the corner
    ],
)
def test_a_point_is_found_in_its_pixel(where: Scene, lon: float, lat: float, pixel: tuple[int, int]) -> None:
    assert pixel_of(where, lon, lat) == pixel


@pytest.mark.parametrize(("lon", "lat"), [(-1.0, 20.0), (3.5, 89.0), (float("nan"), 1.0)])
def test_a_point_outside_is_refused(lon: float, lat: float) -> None:
    with pytest.raises(WindowError, match="outside"):
        pixel_of(scene("EPSG:4326", Affine(1, 0, 0, 0, -1, 50), (10, 10)), lon, lat)


def test_points_of_the_earth_lead_to_no_place_on_mars() -> None:
    with pytest.raises(GeoreferenceError):
        transform_points(MARS, [0.0], [0.0])
