"""`swath run` from outside: what it prints, what it publishes, and that nothing but the input decides the bytes."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio

from tests.processes import Answer, Installation, answers
from tests.scenes import LANDSAT_NAMES, Look, make_pixels, write_landsat, write_scene

LOOK = Look(nodata=0)
TILE = 64
LAND_COVER = "landcover-l7"
ROWS, COLS = 5, 7  # 300 by 400 pixels


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """Made pixels with a corner that is nodata: one tile wholly, its neighbours in part."""
    pixels = make_pixels(LOOK)
    pixels[:, :100, :100] = 0
    return pixels


@pytest.fixture(scope="module")
def place(tmp_path_factory, pixels) -> Installation:
    folder = tmp_path_factory.mktemp("run")
    write_scene(folder / "scene.tif", LOOK, pixels=pixels)
    return Installation(folder)


@pytest.fixture(scope="module")
def first(place) -> Answer:
    return place.run(place.folder / "scene.tif", "--tile-px", TILE)


@pytest.fixture(scope="module")
def folder(first) -> Path:
    return Path(first.json["product"])


@pytest.fixture(scope="module")
def table(folder) -> dict[str, list]:
    return pq.read_table(folder / "tiles.parquet").to_pydict()


def tiles(pixels: np.ndarray) -> list[np.ndarray]:
    return [
        pixels[:, row * TILE : (row + 1) * TILE, col * TILE : (col + 1) * TILE]
        for row in range(ROWS)
        for col in range(COLS)
    ]


def test_a_run_says_on_its_last_line_what_it_did(first):
    assert (first.code, first.err) == (0, "")
    assert first.json["state"] == "published"
    assert first.json["tiles"] == {"planned": 35, "computed": 35, "reused": 0, "masked": 0}
    assert len(first.json["model_digest"]) == 64
    assert first.json["seconds"] > 0
    assert {"run_id", "out"} <= first.json.keys()


def test_a_product_is_five_files_in_a_folder_of_the_runs_name(first, folder, place):
    names = ["item.json", "manifest.json", "map.tif", "statistics.json", "tiles.parquet"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert folder == place.out / first.json["run_id"]


def test_the_map_lies_where_the_scene_lies(folder, place):
    with rasterio.open(folder / "map.tif") as made, rasterio.open(place.folder / "scene.tif") as scene:
        assert (made.crs, made.transform, made.shape) == (scene.crs, scene.transform, scene.shape)
        assert made.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert made.nodata == 255


def test_the_map_shows_each_tiles_class_and_nodata_where_nothing_was(folder, table):
    with rasterio.open(folder / "map.tif") as dataset:
        made = dataset.read(1)
    values = {"dark": 0, "bright": 1, None: 255}
    expected = np.array([values[name] for name in table["class"]], np.uint8).reshape(ROWS, COLS)
    assert set(np.unique(expected)) == {0, 1, 255}
    np.testing.assert_array_equal(made, expected.repeat(TILE, 0).repeat(TILE, 1)[: made.shape[0], : made.shape[1]])


def test_the_table_has_one_row_per_planned_tile_in_row_major_order(table):
    assert {"geometry", "row", "col", "state", "valid_fraction", "score", "class"} <= table.keys()
    places = list(zip(table["row"], table["col"], strict=True))
    assert places == [(row, col) for row in range(ROWS) for col in range(COLS)]
    assert table["state"] == ["empty", *["computed"] * 34]


def test_a_score_is_the_mean_of_valid_pixels_times_one_constant(table, pixels):
    for tile, score, fraction in zip(tiles(pixels), table["score"], table["valid_fraction"], strict=True):
        valid = (tile != 0).any(axis=0)
        assert fraction == pytest.approx(valid.mean(), abs=1e-6)
        if valid.any():
            assert score == pytest.approx(tile[:, valid].mean(dtype=np.float64) / 65535, rel=1e-6)


def test_the_manifest_tells_the_digest_of_every_file_and_of_the_source(folder, place):
    manifest = json.loads((folder / "manifest.json").read_bytes())
    for name, facts in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == facts["sha256"]
    assert sorted(manifest["files"]) == ["item.json", "map.tif", "statistics.json", "tiles.parquet"]
    source = hashlib.sha256((place.folder / "scene.tif").read_bytes()).hexdigest()
    assert [each["sha256"] for each in manifest["sources"]] == [source]


def test_a_second_run_reuses_every_tile_and_publishes_the_same_bytes(first, place):
    second = place.run(place.folder / "scene.tif", "--tile-px", TILE)
    assert second.json["tiles"] == {"planned": 35, "computed": 0, "reused": 35, "masked": 0}
    assert second.json["run_id"] != first.json["run_id"]
    assert place.answers(first) == place.answers(second)


def test_a_unit_lost_or_damaged_in_the_store_is_computed_again(place, first):
    lost, damaged, *_ = sorted((place.folder / "home" / "store" / "units").rglob("*.npz"))
    lost.unlink()
    damaged.write_bytes(damaged.read_bytes()[:-7])
    again = place.run(place.folder / "scene.tif", "--tile-px", TILE)
    assert again.code == 0
    assert again.json["tiles"] == {"planned": 35, "computed": 14, "reused": 21, "masked": 0}
    assert place.answers(first) == place.answers(again)


def test_a_store_that_lost_every_unit_costs_time_but_no_hole(place, first):
    for path in (place.folder / "home" / "store" / "units").rglob("*.npz"):
        path.unlink()
    again = place.run(place.folder / "scene.tif", "--tile-px", TILE)
    assert (again.code, again.json["tiles"]["computed"]) == (0, 35)
    assert place.answers(first) == place.answers(again)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_gives_the_same_bytes(workers, first, place, installation):
    other = installation.run(place.folder / "scene.tif", "--tile-px", TILE, "--workers", workers)
    assert other.json["tiles"]["computed"] == 35
    assert place.answers(first) == installation.answers(other)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_other_types_of_numbers_give_scores_by_the_same_rule(dtype, swath, tmp_path):
    look = replace(LOOK, shape=(64, 128), dtype=dtype, nodata=None)
    scene = write_scene(tmp_path / "scene.tif", look)
    answer = swath("run", scene, "--model", "brightness", "--out", tmp_path / "out", "--tile-px", 64, "--json")
    scores = pq.read_table(Path(answer.json["product"]) / "tiles.parquet")["score"].to_pylist()
    top = 1 if dtype == "float32" else np.iinfo(dtype).max
    made = make_pixels(look).astype(np.float64)
    assert scores == pytest.approx([made[..., :64].mean() / top, made[..., 64:].mean() / top], rel=1e-6)


def test_nan_without_a_nodata_value_is_not_usable(swath, tmp_path):
    look = replace(LOOK, shape=(64, 64), dtype="float32", nodata=None)
    pixels = make_pixels(look)
    pixels[:, :16] = np.nan
    scene = write_scene(tmp_path / "scene.tif", look, pixels=pixels)
    answer = swath("run", scene, "--model", "brightness", "--out", tmp_path / "out", "--tile-px", 64, "--json")
    (row,) = pq.read_table(Path(answer.json["product"]) / "tiles.parquet").to_pylist()
    assert row["valid_fraction"] == 0.75
    assert row["score"] == pytest.approx(pixels[:, 16:].mean(dtype=np.float64), rel=1e-6)


def test_the_land_cover_map_is_the_same_for_every_tile_size(swath, tmp_path):
    scene = write_landsat(tmp_path / "scene.tif", (300, 420))
    maps = []
    for tile_px in (128, 200, 256):
        answer = swath("run", scene, "--model", LAND_COVER, "--out", tmp_path / "out", "--tile-px", tile_px, "--json")
        with rasterio.open(Path(answer.json["product"]) / "map.tif") as dataset:
            maps.append(dataset.read(1))
    assert len(np.unique(maps[0])) > 1
    np.testing.assert_array_equal(maps[0], maps[1])
    np.testing.assert_array_equal(maps[0], maps[2])


def test_a_land_cover_run_reuses_all_of_an_earlier_one(swath, tmp_path):
    scene = write_landsat(tmp_path / "scene.tif", (256, 256))
    pair = [swath("run", scene, "-m", LAND_COVER, "-o", tmp_path / "out", "--json") for _ in range(2)]
    first, second = (each.json for each in pair)
    assert second["tiles"]["reused"] == second["tiles"]["planned"]
    assert answers(Path(first["product"])) == answers(Path(second["product"]))


def test_a_missing_band_is_refused_before_anything_is_computed(swath, tmp_path):
    scene = write_scene(tmp_path / "scene.tif", Look(names=LANDSAT_NAMES[:5], dtype="uint8", gsd_m=28.5))
    answer = swath("run", scene, "--model", LAND_COVER, "--out", tmp_path / "out")
    assert answer.code == 65
    assert "swir22" in answer.sentence
