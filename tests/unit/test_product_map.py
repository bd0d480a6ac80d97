import numpy as np
import pytest

from services.core.grid import TileGrid
from services.core.product.class_map import map_parts, plan_map, tile_classes
from services.core.unit import EMPTY, MASKED
from tests.products import make_blocks, make_scene, make_spec


def paint(spec, blocks) -> np.ndarray:
    """All that is written of a map, and a proof that every pixel was written exactly once."""
    shape = plan_map(spec).written_shape
    painted, times = np.full(shape, 99, np.uint8), np.zeros(shape, int)
    for block in blocks:
        for window, pixels in map_parts(spec, block, tile_classes(spec, block)):
            assert pixels.shape == window.shape
            painted[window.row_off : window.row_end, window.col_off : window.col_end] = pixels
            times[window.row_off : window.row_end, window.col_off : window.col_end] += 1
    assert (times == 1).all()
    return painted


@pytest.mark.parametrize("kind", ["threshold", "classification"])
def test_a_map_of_tiles_is_written_a_pixel_per_tile(kind):
    spec = make_spec(kind, (90, 70), tile_px=8)
    painted = paint(spec, make_blocks(spec, unit_rows=5))
    np.testing.assert_array_equal(painted, np.concatenate([tile_classes(spec, block) for block in make_blocks(spec)]))


def test_a_unit_as_wide_as_a_long_scene_is_written_in_strips():
    spec = make_spec("segmentation", (40, 5000), tile_px=32)
    windows = [window for block in make_blocks(spec) for window, _ in map_parts(spec, block, tile_classes(spec, block))]
    assert sum(window.size for window in windows) == 40 * 5000
    assert max(window.width for window in windows) <= 1024


def test_a_score_at_the_threshold_is_above_it():
    spec = make_spec("threshold")
    block = next(make_blocks(spec))
    block.answers[0, 0, :3] = [0.49999997, 0.5, 0.50000006]
    assert tile_classes(spec, block)[0, :3].tolist() == [0, 1, 1]


def test_the_lower_class_wins_a_tie():
    spec = make_spec()
    block = next(make_blocks(spec))
    block.answers[:, 0, 0] = [0.2, 0.4, 0.4]
    assert tile_classes(spec, block)[0, 0] == 1


@pytest.mark.parametrize("kind", ["threshold", "classification"])
def test_tiles_without_an_answer_are_nodata(kind):
    spec = make_spec(kind)
    blocks = list(make_blocks(spec))
    blocks[0].state[0, 1], blocks[1].state[0, 2] = EMPTY, MASKED
    painted = paint(spec, blocks)
    assert (painted == 255).sum() == 2
    assert painted[0, 1] == painted[1, 2] == 255


def test_masked_tiles_of_a_segmentation_are_nodata_whatever_was_left_there():
    spec = make_spec("segmentation")
    blocks = list(make_blocks(spec, unit_rows=2))
    blocks[1].state[1, 4] = MASKED  # the corner tile, 4 by 2 pixels
    painted = paint(spec, blocks)
    assert (painted[96:, 128:] == 255).all()
    assert (painted == 255).sum() == 8


def test_a_classification_map_has_one_pixel_per_tile():
    spec = make_spec(step=2.0)
    plan = plan_map(spec)
    assert plan.shape == (4, 5)
    assert tuple(plan.transform)[:6] == (640.0, 0.0, 500_000.0, 0.0, -640.0, 5_000_000.0)


def test_a_resampled_map_keeps_the_scenes_corner():
    scene = make_scene((200, 260), transform=(10.0, 1.0, 7.0, 2.0, -10.0, 9.0))
    spec = make_spec("segmentation", scene=scene, grid=TileGrid(shape=(100, 130), tile_px=32), step=2.0)
    assert spec.map_transform == (20.0, 2.0, 7.0, 4.0, -20.0, 9.0)
    assert spec.map_shape == (100, 130)


def test_nothing_of_the_run_itself_is_in_the_map():
    text = repr(plan_map(make_spec()))
    assert "r-2026" not in text
    assert "0.1.0" not in text
