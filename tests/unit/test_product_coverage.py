import numpy as np
import pytest

from services.core.errors import CoverageError
from services.core.product.coverage import Coverage, CoverageCount
from services.core.strips import Strips
from services.core.unit import EMPTY, MASKED, UnitBlock
from tests.products import make_blocks, make_spec


def count(spec, blocks) -> Coverage:
    counter = CoverageCount(spec)
    for _ in counter.watch(blocks):
        pass
    return counter.finish()


@pytest.fixture
def spec():
    return make_spec()


def mask(block: UnitBlock, row: int, col: int, reason: str) -> None:
    block.state[row - block.row_start, col] = MASKED
    block.reasons[f"{row},{col}"] = reason


@pytest.mark.parametrize("unit_rows", [1, 2, 3, 4])
def test_all_tiles_are_counted_however_units_are_cut(spec, unit_rows):
    coverage = count(spec, make_blocks(spec, unit_rows=unit_rows))
    assert (coverage.planned, coverage.computed, coverage.empty, coverage.masked) == (20, 20, 0, 0)


@pytest.mark.parametrize(("lost", "said"), [(0, "tile row 0 is"), (1, "tile row 1 is"), (3, "tile row 3 is")])
def test_a_missing_unit_is_named(spec, lost, said):
    blocks = list(make_blocks(spec))
    del blocks[lost]
    with pytest.raises(CoverageError, match=rf"{said} missing of 4 \(5 tiles\)"):
        count(spec, blocks)


def test_missing_rows_at_the_end_are_named_together(spec):
    with pytest.raises(CoverageError, match=r"are missing of 4 \(15 tiles\); nothing was published; go on with: "):
        count(spec, list(make_blocks(spec))[:1])


def test_no_unit_at_all_is_not_a_product(spec):
    with pytest.raises(CoverageError, match="tile rows 0 to 3 are missing"):
        count(spec, [])


def test_a_unit_that_comes_twice_is_refused(spec):
    blocks = list(make_blocks(spec))
    with pytest.raises(CoverageError, match="tile row 1 comes after tile row 1"):
        count(spec, [*blocks[:2], blocks[1], *blocks[2:]])


def test_a_unit_past_the_last_row_is_refused(spec):
    blocks = list(make_blocks(make_spec(shape=(180, 130))))
    with pytest.raises(CoverageError, match="tile row 4 belongs to another run"):
        count(spec, blocks)


@pytest.mark.parametrize("other", [make_spec(tile_px=16), make_spec("threshold"), make_spec("segmentation")])
def test_a_unit_of_another_run_is_refused(spec, other):
    with pytest.raises(CoverageError, match="belongs to another run"):
        count(spec, make_blocks(other))


def test_map_pixels_of_another_size_are_refused():
    spec = make_spec("segmentation")
    blocks = list(make_blocks(spec))
    blocks[2].pixels = Strips((32, 129))
    with pytest.raises(CoverageError, match="tile row 2 belongs to another run"):
        count(spec, blocks)


def test_a_state_nobody_knows_is_refused(spec):
    blocks = list(make_blocks(spec))
    blocks[1].state[0, 0] = 3
    with pytest.raises(CoverageError, match="tile row 1 is damaged"):
        count(spec, blocks)


def test_masked_tiles_keep_their_reasons(spec):
    blocks = list(make_blocks(spec))
    mask(blocks[2], 2, 4, "block 7 is damaged")
    blocks[0].state[0, 1] = EMPTY
    coverage = count(spec, blocks)
    assert (coverage.computed, coverage.empty, coverage.masked) == (18, 1, 1)
    assert coverage.summary()["masked_tiles"] == [[2, 4, "block 7 is damaged"]]


def test_a_product_of_masked_tiles_alone_is_refused_with_the_first_reason(spec):
    blocks = list(make_blocks(spec))
    for block in blocks:
        block.state[:] = MASKED
    mask(blocks[0], 0, 0, "the file is cut short")
    with pytest.raises(CoverageError, match="no tile of S2 A could be computed: the file is cut short"):
        count(spec, blocks)


def test_an_empty_scene_is_covered(spec):
    blocks = list(make_blocks(spec))
    for block in blocks:
        block.state[:], block.valid_fraction[:] = EMPTY, 0
    assert count(spec, blocks).valid_fraction == 0


def test_valid_fraction_weighs_tiles_by_their_pixels(spec):
    blocks = list(make_blocks(spec))
    for block in blocks:
        block.valid_fraction[:] = np.where(np.arange(5) < 4, 1, 0)  # the last column is 2 of 130 pixels wide
    mask(blocks[3], 3, 0, "x")  # 4 rows by 32 columns of 100 by 130 pixels
    assert count(spec, blocks).valid_fraction == pytest.approx((128 * 100 - 4 * 32) / (100 * 130), abs=1e-6)
