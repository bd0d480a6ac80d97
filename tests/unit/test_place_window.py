"""From a box in degrees to pixels of a scene: cut at its edge, over the antimeridian, refused where none is."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.area import area_cells
from services.core.errors import WindowError
from services.core.flow.tile import Layer
from services.core.grid import Window
from services.core.raster.place import spot_of, window_of_bbox
from services.core.records import Scene
from tests import catalogs

DEGREES = {"crs": "EPSG:4326", "shape": (200, 400), "transform": (0.01, 0.0, 10.0, 0.0, -0.01, 50.0)}
UTM = {"crs": "EPSG:32632", "shape": (1000, 800), "transform": (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0)}


def pixel_of(scene: Scene, lon: float, lat: float) -> tuple[int, int]:
    row, col = spot_of(scene, lon, lat)
    return math.floor(row), math.floor(col)


def placed(**place) -> Scene:
    return catalogs.scene(**{**DEGREES, **place})


def test_a_box_of_whole_pixels_is_exactly_those_pixels():
    window = window_of_bbox(placed(), (10.5, 49.5, 11.0, 49.75))
    assert window == Window(row_off=25, col_off=50, height=25, width=50)


def test_a_box_within_one_pixel_is_that_pixel():
    assert window_of_bbox(placed(), (10.501, 49.501, 10.502, 49.502)).shape == (1, 1)


def test_a_box_that_reaches_out_is_cut_at_the_edge():
    assert window_of_bbox(placed(), (0, 0, 90, 80)) == Window(row_off=0, col_off=0, height=200, width=400)


@pytest.mark.parametrize("box", [(20, 49, 21, 50), (10, 51, 11, 52), (-170, 49, -169, 50)])
def test_a_box_beside_the_scene_is_refused(box):
    with pytest.raises(WindowError, match="outside"):
        window_of_bbox(placed(), box)


@pytest.mark.parametrize("first_lon", [179.0, -181.0])
def test_a_box_over_the_antimeridian_finds_its_pixels(first_lon):
    scene = placed(transform=(0.01, 0.0, first_lon, 0.0, -0.01, 50.0))
    window = window_of_bbox(scene, (179.5, 49.0, -179.5, 49.5))
    assert window == Window(row_off=50, col_off=50, height=50, width=100)


def test_a_box_over_the_antimeridian_is_not_halved_in_silence_on_a_scene_round_the_earth():
    scene = placed(transform=(0.9, 0.0, -180.0, 0.0, -0.9, 90.0))
    with pytest.raises(WindowError, match="one side and then"):
        window_of_bbox(scene, (170.0, -10.0, -170.0, 10.0))
    assert window_of_bbox(scene, (-180.0, -90.0, 180.0, 90.0)).shape == scene.shape


def test_west_and_east_that_are_swapped_are_told_so():
    scene = placed(bbox=(10.0, 48.0, 14.0, 50.0))
    with pytest.raises(WindowError, match="where west and east are swapped, swap them back"):
        window_of_bbox(scene, (13.0, 49.0, 11.0, 49.5))


def test_a_utm_scene_over_the_antimeridian_is_found_from_both_sides():
    scene = placed(crs="EPSG:32601", shape=(1000, 1000), transform=(100.0, 0.0, 150_000.0, 0.0, -100.0, 1_000_000.0))
    window = window_of_bbox(scene, (179.9, 8.5, -179.5, 9.0))  # eastings 158,000 to 225,000
    assert 75 < window.col_off < 95
    assert 740 < window.col_end < 760


@pytest.mark.parametrize("east", [-179.0, -150.0, -130.0, 0.0, 177.9])
def test_a_box_over_the_antimeridian_may_reach_as_far_as_it_likes(east):
    scene = placed(crs="EPSG:32660", shape=(1000, 1000), transform=(100.0, 0.0, 600_000.0, 0.0, -100.0, 5_500_000.0))
    window = window_of_bbox(scene, (178.5, 48.0, east, 50.0))
    row, col = pixel_of(scene, 179.0, 49.0)
    assert window.row_off <= row < window.row_end
    assert window.col_off <= col < window.col_end


WHOLE_EARTH = (-180.0, -90.0, 180.0, 90.0)


@pytest.mark.parametrize(
    ("first_lon", "box", "cols"),
    [
        (0.0, WHOLE_EARTH, (0, 360)),
        (0.0, (-180, -10, -90, 10), (180, 270)),
        (0.0, (170, -10, -170, 10), (170, 190)),
        (-180.0, WHOLE_EARTH, (0, 360)),
        (-180.0, (170, -10, 180, 10), (350, 360)),
        (-180.0, (-180, -10, -170, 10), (0, 10)),
    ],
)
def test_a_scene_round_the_earth_gives_all_of_a_box_or_says_that_it_lies_at_both_ends(first_lon, box, cols):
    scene = placed(shape=(180, 360), transform=(1.0, 0.0, first_lon, 0.0, -1.0, 90.0))
    window = window_of_bbox(scene, box)
    assert (window.col_off, window.col_end) == cols
    over_its_seam = (170, -10, -170, 10) if first_lon < 0 else (-10, -10, 10, 10)
    with pytest.raises(WindowError, match="one side and then"):
        window_of_bbox(scene, over_its_seam)


@pytest.mark.parametrize("first_lon", [179.0, -181.0])
def test_a_box_with_its_seam_in_the_scene_is_not_cut_there(first_lon):
    scene = placed(shape=(100, 206), transform=(0.01, 0.0, first_lon, 0.0, -0.01, 50.0))
    assert window_of_bbox(scene, WHOLE_EARTH).shape == scene.shape


MERCATOR = {"crs": "EPSG:3857", "shape": (300, 2000), "transform": (100.0, 0.0, 19_937_508.0, 0.0, -100.0, 900_000.0)}


@pytest.mark.parametrize(
    ("crs", "first_x"),
    [("EPSG:3857", 19_937_508.0), ("EPSG:3832", 19_937_508.0 - 16_697_923.62), ("EPSG:3395", 19_937_508.0)],
)
def test_a_cylinder_may_be_unrolled_past_the_antimeridian(crs, first_x):
    scene = placed(**{**MERCATOR, "crs": crs, "transform": (100.0, 0.0, first_x, 0.0, -100.0, 900_000.0)})
    east_of_it = window_of_bbox(scene, (-180, 6, -178, 8))
    over_it = window_of_bbox(scene, (179.5, 6, -179.8, 8))
    assert (east_of_it.col_off, east_of_it.col_end) == (1000, 2000)
    assert (over_it.col_off, over_it.col_end) == (443, 1223)
    assert pixel_of(scene, -179.5, 7.9)[1] == 1556
    assert pixel_of(scene, 179.5, 7.9)[1] == 443


@pytest.mark.parametrize("box", [WHOLE_EARTH, (-90, -45, 90, 45), (-60, -60, 60, 60)])
def test_corners_of_a_box_that_a_projection_has_no_place_for_are_left_out(box):
    assert window_of_bbox(placed(**UTM), box).shape == (1000, 800)


def test_a_place_on_the_other_side_of_the_earth_is_outside():
    with pytest.raises(WindowError, match="longitude 100, latitude 0 is outside"):
        pixel_of(placed(**UTM), 100.0, 0.0)


def test_a_scene_that_counts_from_0_to_360_is_found():
    scene = placed(transform=(0.01, 0.0, 350.0, 0.0, -0.01, 50.0))
    assert window_of_bbox(scene, (-9.5, 49.0, -9.0, 49.5)) == Window(row_off=50, col_off=50, height=50, width=50)


@given(
    lon=st.floats(9.02, 9.07),
    lat=st.floats(45.08, 45.14),
    wide=st.floats(1e-4, 0.02),
    high=st.floats(1e-4, 0.01),
    x=st.floats(0, 1),
    y=st.floats(0, 1),
)
def test_every_place_in_the_box_is_in_its_window(lon, lat, wide, high, x, y):
    scene = placed(**UTM)
    window = window_of_bbox(scene, (lon, lat, lon + wide, lat + high))
    row, col = pixel_of(scene, lon + x * wide, lat + y * high)
    assert window.row_off <= row < window.row_end
    assert window.col_off <= col < window.col_end


@pytest.mark.parametrize(
    ("step", "cells"),
    [
        (1.0, Window(row_off=10, col_off=20, height=30, width=40)),
        (16.0, Window(row_off=0, col_off=1, height=3, width=3)),
        (2.5, Window(row_off=4, col_off=8, height=12, width=16)),
    ],
)
def test_cells_are_all_that_the_window_touches(step, cells):
    layer = Layer(bands=("a",), shape=(100, 100), step=step)
    assert area_cells(layer, Window(row_off=10, col_off=20, height=30, width=40)) == cells


@pytest.mark.parametrize(
    "box", [(-180, 45.1, 180, 90), (-25, 45.1, 30, 60), (8, 45.1, 10, 45.11), (-170, -90, 170, 45.1)]
)
def test_a_box_far_wider_than_the_scene_loses_no_pixel(box):
    scene = placed(**UTM, bbox=(9.0, 45.06, 9.11, 45.16))
    window = window_of_bbox(scene, box)
    south_of_it = [pixel_of(scene, lon, 45.1)[0] for lon in (9.001, 9.05, 9.1)]
    expected = (0, max(south_of_it) + 1) if box[3] > 45.1 else (min(south_of_it), 1000)
    if box[3] == 45.11:
        expected = (min(pixel_of(scene, lon, 45.11)[0] for lon in (9.001, 9.1)), expected[1])
    assert abs(window.row_off - expected[0]) <= 2
    assert abs(window.row_end - expected[1]) <= 2
    assert (window.col_off, window.width) == (0, 800)
