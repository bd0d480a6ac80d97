"""`swath run --bbox`: a part of a scene, in which every pixel is what the map of the whole scene holds."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from affine import Affine
from rasterio.warp import transform_bounds

from services.core.grid import Window
from services.core.raster.crop import part_for
from tests.models import make_classifier
from tests.processes import Answer, Installation
from tests.scenes import lay_out, made_pictures, write_landsat, write_pictures

ASKED = Window(row_off=150, col_off=200, height=70, width=90)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    folder = tmp_path_factory.mktemp("windows")
    write_landsat(folder / "landsat.tif", (512, 640))
    write_pictures(folder / "pictures.tif", lay_out(made_pictures(8 * 10), cols=10))
    make_classifier(folder / "classes")
    return Installation(folder, {"SWATH_BACKEND": "onnxruntime"})


@pytest.fixture(scope="module")
def box(place: Installation) -> Callable[[str], str]:
    def degrees(scene: str) -> str:
        with rasterio.open(place.folder / scene) as source:
            return ",".join(map(str, transform_bounds(source.crs, "EPSG:4326", *asked_bounds(source.transform))))

    return degrees


def asked_bounds(transform: Affine) -> tuple[float, float, float, float]:
    """(left, bottom, right, top) of what is asked for, in the scene's CRS."""
    left, top = transform @ (ASKED.col_off, ASKED.row_off)
    right, bottom = transform @ (ASKED.col_end, ASKED.row_end)
    return left, bottom, right, top


def cut(answer: Answer, scene: Path) -> np.ndarray:
    """What a product's map holds of the ground that was asked for."""
    with rasterio.open(scene) as source:
        left, bottom, right, top = asked_bounds(source.transform)
    with rasterio.open(Path(answer.json["product"]) / "map.tif") as mapped:
        first_col, first_row = ~mapped.transform @ (left, top)
        last_col, last_row = ~mapped.transform @ (right, bottom)
        return mapped.read()[:, touched(first_row, last_row), touched(first_col, last_col)]


def touched(first: float, last: float) -> slice:
    """Whole cells; coordinates that went through a transform and back are whole only almost."""
    return slice(math.floor(first + 1e-6), math.ceil(last - 1e-6))


@pytest.mark.parametrize(
    ("scene", "model", "words"),
    [
        ("landsat.tif", "brightness", ("--tile-px", "32")),
        ("landsat.tif", "landcover-l7", ()),
        ("landsat.tif", "landcover-l7", ("--tile-px", "96")),
        ("pictures.tif", "classes", ()),
        ("pictures.tif", "classes", ("--tile-px", "16")),
    ],
)
def test_a_part_holds_what_the_whole_holds_there(place, box, scene, model, words):
    model = str(place.folder / model) if model == "classes" else model
    whole = place.run(place.folder / scene, *words, model=model)
    part = place.run(place.folder / scene, "--bbox", box(scene), *words, model=model)

    assert (whole.code, part.code) == (0, 0), whole.err + part.err
    assert part.json["tiles"]["planned"] <= whole.json["tiles"]["planned"]
    expected = cut(whole, place.folder / scene)
    assert expected.size
    np.testing.assert_array_equal(cut(part, place.folder / scene), expected)


@pytest.fixture(scope="module")
def part(place: Installation, box: Callable[[str], str]) -> Answer:
    return place.run(place.folder / "landsat.tif", "--tile-px", "32", "--bbox", box("landsat.tif"))


def test_the_product_lies_where_the_part_lies(place, part):
    folder = Path(part.json["product"])
    with rasterio.open(place.folder / "landsat.tif") as source, rasterio.open(folder / "map.tif") as mapped:
        assert mapped.shape == (96, 128)  # rows 128 to 224, columns 192 to 320: whole tiles
        assert mapped.transform == source.transform @ Affine.translation(192, 128)
        item = json.loads((folder / "item.json").read_text())
        np.testing.assert_allclose(item["bbox"], transform_bounds(mapped.crs, "EPSG:4326", *mapped.bounds), atol=1e-4)
    assert pq.read_table(folder / "tiles.parquet").num_rows == 12


def test_its_command_repeats_it_and_it_verifies(place, part):
    manifest = json.loads((Path(part.json["product"]) / "manifest.json").read_text())
    words = manifest["command"].split()[1:]
    again = place.swath(*words, "--json")
    assert again.json["tiles"] == {"planned": 12, "computed": 0, "reused": 12, "masked": 0}
    assert place.swath("verify", part.json["run_id"], "--all").code == 0


def test_lineage_counts_pixels_of_the_whole_scene(place, part, box):
    west, south, east, north = map(float, box("landsat.tif").split(","))
    where = ("--lon", (west + east) / 2, "--lat", (south + north) / 2)
    found = place.swath("lineage", part.json["run_id"], *where, "--json").json
    assert abs(found["pixel"]["row"] - 185) <= 2
    assert abs(found["pixel"]["col"] - 245) <= 2
    assert (found["tile"]["row"], found["tile"]["col"]) == (1, 1)
    outside = place.swath("lineage", part.json["run_id"], "--lon", west - 0.05, "--lat", north, "--json")
    assert outside.code == 65


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--bbox", "1,2,3"), "is not west,south,east,north"),
        (("--bbox", "5,4,6,3"), "holds no ground"),
        (("--bbox", "5,nan,6,3"), "holds no ground"),
        (("--bbox", "100,10,101,11"), "is outside"),
    ],
)
def test_a_box_that_makes_no_sense_is_refused(place, words, says):
    answer = place.run(place.folder / "landsat.tif", *words)
    assert answer.code == 65
    assert says in answer.sentence


def test_a_box_and_another_pixel_size_do_not_go_together(place, box):
    answer = place.run(place.folder / "landsat.tif", "--bbox", box("landsat.tif"), "--gsd", "60")
    assert answer.code == 65
    assert "--gsd" in answer.sentence


@pytest.mark.parametrize(("margin", "expected"), [(0, (128, 192, 64, 96)), (40, (96, 160, 128, 160))])
def test_a_part_begins_and_ends_with_whole_tiles(margin, expected):
    asked = Window(row_off=140, col_off=200, height=30, width=70)
    part = part_for(asked, (400, 500), step_px=32, margin_px=margin)
    assert (part.row_off, part.col_off, part.height, part.width) == expected


def test_a_part_ends_where_the_scene_ends():
    asked = Window(row_off=0, col_off=490, height=400, width=10)
    part = part_for(asked, (400, 500), step_px=64, margin_px=64)
    assert (part.row_off, part.row_end, part.col_end) == (0, 400, 500)
