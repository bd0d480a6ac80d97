import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from services.core.errors import GeoreferenceError
from services.core.grid import TileGrid
from services.core.product.class_map import tile_classes
from services.core.product.tile_table import TileTable, write_tile_index
from services.core.unit import EMPTY, MASKED
from tests.products import NORTH_UP, make_blocks, make_scene, make_spec

SOUTH_UP = (10.0, 0.0, 500_000.0, 0.0, 10.0, 5_000_000.0)
ROTATED = (8.0, 6.0, 100.0, 6.0, -8.0, 200.0)


def write(path, spec, blocks):
    with TileTable(spec, path) as table:
        for block in blocks:
            table.add(block, tile_classes(spec, block))
    return pq.read_table(path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tiles.parquet"


def test_rows_are_the_tiles_in_row_major_order(path):
    spec = make_spec()
    table = write(path, spec, make_blocks(spec, unit_rows=3))
    assert list(zip(table["row"].to_pylist(), table["col"].to_pylist(), strict=True)) == list(spec.grid)


@pytest.mark.parametrize("kind", ["threshold", "classification", "segmentation"])
def test_bytes_do_not_depend_on_how_units_were_cut(tmp_path, kind):
    spec = make_spec(kind, (3000, 3000), tile_px=16)  # 35,344 tiles: nine row groups
    for unit_rows in (1, 7, 188):
        write(tmp_path / str(unit_rows), spec, make_blocks(spec, unit_rows=unit_rows))
    assert len({(tmp_path / name).read_bytes() for name in ("1", "7", "188")}) == 1
    assert pq.ParquetFile(tmp_path / "1").num_row_groups == 9


def test_a_threshold_has_score_and_class(path):
    spec = make_spec("threshold")
    blocks = list(make_blocks(spec))
    blocks[0].state[0, 1], blocks[0].state[0, 2] = EMPTY, MASKED
    table = write(path, spec, blocks)
    expected = blocks[0].answers[0, 0].tolist()
    assert table["score"].to_pylist()[:4] == [expected[0], None, None, expected[3]]
    assert table["class"].to_pylist()[:4] == ["Bare soil", None, None, "Water"]
    assert table["state"].to_pylist()[:4] == ["computed", "empty", "masked", "computed"]


@pytest.mark.parametrize("kind", ["classification", "segmentation"])
def test_other_kinds_have_class_and_probabilities_in_class_order(path, kind):
    spec = make_spec(kind)
    blocks = list(make_blocks(spec))
    blocks[1].state[0, 0] = MASKED
    table = write(path, spec, blocks)
    assert table["probabilities"].to_pylist()[4:7] == [
        blocks[0].answers[:, 0, 4].tolist(),
        None,
        blocks[1].answers[:, 0, 1].tolist(),
    ]
    best = int(blocks[1].answers[:, 0, 1].argmax())
    assert table["class"].to_pylist()[5:7] == [None, spec.contract.classes[best].name]


@pytest.mark.parametrize("transform", [NORTH_UP, SOUTH_UP, ROTATED])
def test_footprints_cover_the_scene_once_and_turn_left(path, transform):
    spec = make_spec(scene=make_scene((100, 130), transform=transform))
    table = write(path, spec, make_blocks(spec))
    shapes = shapely.from_wkb(table["geometry"].to_pylist())
    a, b, c, d, e, f = transform
    corners = [(a * x + b * y + c, d * x + e * y + f) for x, y in ((0, 0), (130, 0), (130, 100), (0, 100))]
    assert all(shapely.is_ccw(shapely.get_exterior_ring(shapes)))
    assert shapely.equals(shapely.union_all(shapes), shapely.Polygon(corners))
    assert shapely.area(shapes).sum() == pytest.approx(shapely.Polygon(corners).area)


def test_edge_tiles_of_a_resampled_scene_end_with_the_scene(path):
    scene = make_scene((99, 129))
    spec = make_spec(scene=scene, grid=TileGrid(shape=(40, 52), tile_px=16), step=2.5)  # 40 * 2.5 is past row 99
    table = write(path, spec, make_blocks(spec))
    bounds = shapely.total_bounds(shapely.from_wkb(table["geometry"].to_pylist()))
    assert bounds.tolist() == [500_000.0, 5_000_000.0 - 990, 500_000.0 + 1290, 5_000_000.0]


def test_geo_metadata_says_where_and_how(path):
    spec = make_spec()
    table = write(path, spec, make_blocks(spec))
    geo = json.loads(table.schema.metadata[b"geo"])
    column = geo["columns"][geo["primary_column"]]
    assert (geo["version"], column["encoding"], column["geometry_types"]) == ("1.1.0", "WKB", ["Polygon"])
    assert column["crs"]["id"] == {"authority": "EPSG", "code": 32631}
    assert column["bbox"] == [500_000.0, 4_999_000.0, 501_300.0, 5_000_000.0]
    assert column["covering"]["bbox"]["ymax"] == ["bbox", "ymax"]


def test_bbox_column_is_each_geometrys_own(path):
    spec = make_spec(scene=make_scene((100, 130), transform=ROTATED))
    table = write(path, spec, make_blocks(spec))
    bounds = shapely.bounds(shapely.from_wkb(table["geometry"].to_pylist()))
    boxes = [list(box.values()) for box in table["bbox"].to_pylist()]
    np.testing.assert_array_equal(boxes, bounds)


def test_classes_and_model_travel_with_the_table(path):
    spec = make_spec()
    note = json.loads(write(path, spec, make_blocks(spec)).schema.metadata[b"swath"])
    assert note["classes"][1] == {"value": 1, "name": "Water", "color": "#0000ff"}
    assert note["model"]["digest"] == "c" * 64


def test_a_single_tile_is_a_table(path):
    spec = make_spec("threshold", (3, 5))
    assert len(write(path, spec, make_blocks(spec))) == 1


def test_one_class_and_one_empty_tile_are_no_special_case(path):
    spec = make_spec(shape=(3, 5))
    blocks = list(make_blocks(spec))
    blocks[0].state[:] = EMPTY
    table = write(path, spec, blocks)
    assert table["probabilities"].to_pylist() == [None]


@pytest.mark.parametrize("tile_px", [1, 32, 200])
def test_an_index_holds_the_footprints_a_product_would_have(tmp_path, tile_px):
    spec = make_spec("threshold", tile_px=tile_px)
    whole = write(tmp_path / "tiles", spec, make_blocks(spec))
    write_tile_index(spec.scene, spec.grid, tmp_path / "index")
    index = pq.read_table(tmp_path / "index")
    assert index.column_names == ["geometry", "row", "col", "bbox"]
    assert index.schema.metadata[b"geo"] == whole.schema.metadata[b"geo"]
    assert index.to_pylist() == whole.select(index.column_names).to_pylist()


def test_an_index_of_no_known_crs_is_refused(tmp_path):
    scene = make_scene((10, 10), crs="EPSG:999999")
    with pytest.raises(GeoreferenceError, match="is not a coordinate reference system"):
        write_tile_index(scene, TileGrid(shape=(10, 10), tile_px=5), tmp_path / "index")
