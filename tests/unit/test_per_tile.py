"""One answer per tile: chips that overlap are blended into a map that no cut of the work can be seen in."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.core.errors import ContractError
from services.core.flow.execute import compute, walk
from services.core.flow.flow import Flow
from services.core.flow.per_tile import TileMean
from services.core.flow.plan import Allowance, SourceLayout, plan_run
from services.core.flow.schedule import build_schedule
from services.core.flow.tile import Tile
from services.core.grid import TileGrid, Window, whole
from services.core.model.contract import Contract, ModelClass
from services.core.records import Asset, Band, MaskKind, Scene

CHIP = 16


class MeanBench:
    """A scene in memory, and a network that says how bright a chip is: class `b` in percent of 100."""

    def __init__(self, data, valid=None):
        self.data, self.valid, self.chips = data, valid, 0

    def read(self, bands, window):
        cut = window.within(whole(self.data.shape[1:]))
        return self.data[:, *cut].copy(), None if self.valid is None else self.valid[cut].copy()

    def predict(self, model, chips):
        self.chips += len(chips)
        bright = chips.mean(axis=(1, 2, 3), dtype=np.float64) / 100
        return np.stack([1 - bright, bright], axis=1).astype(np.float32)


def a_scene(shape):
    asset = Asset(
        href="/x.tif", sha256="a" * 64, size_bytes=1, driver="GTiff", shape=shape, block_shape=(64, 64),
        transform=(10, 0, 0, 0, -10, 0), mask=MaskKind.NONE,
    )  # fmt: skip
    bands = (Band(name="red", asset=0, bidx=1, dtype="uint8"),)
    return Scene(
        id="x-1", title="x", source="x", digest="d" * 64, assets=(asset,), shape=shape, crs="EPSG:32631", bands=bands,
        transform=(10, 0, 0, 0, -10, 0), gsd_m=10.0,
    )  # fmt: skip


def a_flow(shape, tile_px):
    classes = tuple(ModelClass(value=i, name=n, color="#000000") for i, n in enumerate(("a", "b")))
    contract = Contract(
        name="m", kind="classification", bands=("red",), units="dn", mean=(0,), std=(1,), chip_px=CHIP,
        stride_px=CHIP, classes=classes,
    )  # fmt: skip
    return Flow.open(a_scene(shape)).predict_tiles("m" * 64, contract, tile_px=tile_px)


def pixels(shape, seed=1):
    return np.random.default_rng(seed).integers(0, 100, (1, *shape)).astype(np.float32)


def answer(flow, bench):
    return compute(flow, whole(flow.layer.shape), bench)


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    tile_px=st.sampled_from([4, 8, 16]),
    rows=st.integers(1, 5),
    cols=st.integers(1, 5),
    holes=st.booleans(),
)
@example(shape=(7, 40), tile_px=4, rows=1, cols=1, holes=True)
def test_a_map_has_the_same_bytes_however_its_work_is_cut(shape, tile_px, rows, cols, holes):
    valid = np.random.default_rng(2).random(shape) > 0.3 if holes else None
    flow, bench = a_flow(shape, tile_px), MeanBench(pixels(shape), valid)
    expected = answer(flow, bench)
    height, width = flow.layer.shape
    pieces = [
        Window(row_off=row, col_off=col, height=rows, width=cols).clip((height, width))
        for row in range(0, height, rows)
        for col in range(0, width, cols)
    ]
    for tile in walk(build_schedule(flow, pieces), bench):
        assert (
            tile.data.tobytes()
            == np.ascontiguousarray(expected.data[:, *tile.window.within(expected.window)]).tobytes()
        )
        assert (tile.mask() == expected.mask()[tile.window.within(expected.window)]).all()


def test_without_overlap_every_tile_is_its_own_chip():
    data = pixels((32, 48))
    bright = answer(a_flow((32, 48), CHIP), MeanBench(data)).data[1]
    means = data[0].reshape(2, CHIP, 3, CHIP).mean(axis=(1, 3)) / 100
    np.testing.assert_allclose(bright, means, rtol=1e-6)


def test_a_chip_past_the_edge_is_its_own_mirror_image():
    data = pixels((CHIP, CHIP + 5))
    bright = answer(a_flow((CHIP, CHIP + 5), CHIP), MeanBench(data)).data[1]
    mirrored = np.pad(data[0, :, CHIP:], ((0, 0), (0, CHIP - 5)), mode="reflect")
    assert bright[0, 1] == pytest.approx(mirrored.mean() / 100, rel=1e-6)


def test_with_overlap_a_tile_is_the_tapered_mean_of_the_chips_that_hold_it():
    data = pixels((CHIP, 3 * CHIP))
    bright = answer(a_flow(data.shape[1:], 8), MeanBench(data)).data[1]
    chips = [data[0, :, start : start + CHIP].mean() / 100 for start in range(0, 2 * CHIP + 1, 8)]
    # Two tiles to a chip's side: both lie equally far from its middle, so the mean is a plain one.
    expected = [chips[0], *((a + b) / 2 for a, b in itertools.pairwise(chips)), chips[-1]]
    np.testing.assert_allclose(bright, [expected, expected], rtol=1e-6)


def test_a_smooth_map_of_an_even_scene_is_even():
    bright = answer(a_flow((50, 61), 4), MeanBench(np.full((1, 50, 61), 40, np.float32))).data[1]
    np.testing.assert_allclose(bright, 0.4, rtol=1e-6)


def test_probabilities_stay_probabilities():
    data = answer(a_flow((50, 61), 4), MeanBench(pixels((50, 61)))).data
    np.testing.assert_allclose(data[:2].sum(axis=0), 1, rtol=1e-5)
    assert (data[2] == 1).all()


def test_a_tile_knows_its_own_usable_part_whatever_chips_hold_it():
    valid = np.ones((32, 32), np.bool_)
    valid[:8, :8] = False
    valid[8:12, 8:16] = False
    tile = answer(a_flow((32, 32), 8), MeanBench(pixels((32, 32)), valid))
    assert tile.data[-1].tolist()[:2] == [[0, 1, 1, 1], [1, 0.5, 1, 1]]
    assert not tile.mask()[0, 0]
    assert tile.mask().sum() == 15


def test_a_unit_of_a_striped_scene_computes_few_chips_twice():
    flow, bench = a_flow((256, 64), 4), MeanBench(pixels((256, 64)))
    layout = SourceLayout(block_shape=(1, 64), width=64, bands_per_block=1, sample_bytes=1)
    allow = Allowance(memory_bytes=2**31, workers=1)
    base = flow.inputs[0].inputs[0].layer
    plan = plan_run(flow, base=base, tile_px=4, layout=layout, recipe={}, allow=allow)
    for unit in plan.units:
        for _ in walk(build_schedule(flow, [window for _, window in plan.windows(unit)]), bench):
            pass
    assert bench.chips < 1.25 * flow.inputs[0].layer.shape[0] * flow.inputs[0].layer.shape[1]


def test_tiles_that_do_not_divide_a_chip_are_refused():
    with pytest.raises(ContractError, match="no whole number"):
        a_flow((64, 64), 6)


@pytest.mark.parametrize("shape", [(64, 64), (1, 200), (70, 17)])
def test_a_smooth_map_lies_on_the_grid_of_its_tiles(shape):
    grid = TileGrid(shape=shape, tile_px=4)
    layer = a_flow(shape, 4).layer
    assert (layer.shape, layer.step) == ((grid.rows, grid.cols), 4)


def test_the_network_is_not_asked_about_chips_without_a_usable_pixel():
    valid = np.zeros((32, 32), np.bool_)
    valid[20:, 20:] = True
    bench = MeanBench(pixels((32, 32)), valid)
    tile = answer(a_flow((32, 32), CHIP), bench)
    assert bench.chips == 1
    assert tile.mask().tolist() == [[False, False], [False, True]]


@pytest.mark.parametrize("valid_elsewhere", [True, False])
@pytest.mark.parametrize("width", [60, 61, 300])
def test_a_mean_of_floats_does_not_depend_on_what_lies_around_its_tile(width, valid_elsewhere):
    """Nor, with that, on blocks and strips; BLAS would round in float32, and another processor elsewhere."""
    data = np.random.default_rng(5).lognormal(0, 3, (3, 60, width)).astype(np.float32)
    valid = np.ones((60, width), np.bool_)
    valid[:, 60:] = valid_elsewhere
    source = Tile(window=Window(row_off=0, col_off=0, height=60, width=width), data=data, valid=valid)
    out = Window(row_off=0, col_off=0, height=1, width=-(-width // 60))
    score = TileMean(60, 1.0).compute(out, (source,), None).data[0, 0, 0]
    expected = sum(np.ascontiguousarray(row).sum(dtype=np.float64) for row in data[:, :, :60].reshape(-1, 60))
    assert score == np.float32(expected / (3 * 60 * 60))


def test_sums_of_small_integers_are_exact_and_the_same_by_either_way():
    data = np.random.default_rng(6).integers(0, 2**16, (2, 600, 700)).astype(np.float32)
    window = whole((600, 700))
    means = [
        TileMean(700, 1.0, _small_integers=small).compute(whole((1, 1)), (Tile(window=window, data=data),), None).data
        for small in (True, False)
    ]
    assert means[0].tobytes() == means[1].tobytes()
    assert means[0][0, 0, 0] == np.float32(data.astype(np.int64).sum() / data.size)
