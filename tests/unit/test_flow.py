"""The engine on arrays alone: bytes do not depend on how the work is cut, and memory stays within the plan."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.core.errors import BandMismatchError, ContractError, MemoryBudgetError, WindowError
from services.core.flow.execute import compute, walk
from services.core.flow.flow import Flow
from services.core.flow.plan import Allowance, SourceLayout, plan_run
from services.core.flow.schedule import build_schedule
from services.core.grid import TileGrid, Window, plan_chips, whole
from services.core.model.contract import Contract, ModelClass
from services.core.records import Asset, Band, MaskKind, Scene


class ArrayBench:
    """A scene in memory, and a network that answers each pixel by its first two bands."""

    def __init__(self, data: np.ndarray, valid: np.ndarray | None = None) -> None:
        self.data, self.valid, self.reads, self.batches = data, valid, 0, []

    def read(self, bands, window):
        self.reads += 1
        cut = window.within(whole(self.data.shape[1:]))
        valid = None if self.valid is None else self.valid[cut].copy()
        return self.data[:, *cut].copy(), valid

    def predict(self, model, chips):
        self.batches.append(len(chips))
        # A network whose answer depends on the neighbourhood, as real ones do: the chip's edge shows if it is used.
        around = sum(np.roll(chips[:, :2], shift, axis) for shift in (-1, 0, 1) for axis in (2, 3))
        weights = np.exp(around - around.max(axis=1, keepdims=True))
        return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def a_scene(shape: tuple[int, int], bands: tuple[str, ...] = ("red", "nir")) -> Scene:
    asset = Asset(
        href="/x.tif", sha256="a" * 64, size_bytes=1, driver="GTiff", shape=shape, block_shape=(64, 64),
        transform=(10, 0, 0, 0, -10, 0), mask=MaskKind.NONE,
    )  # fmt: skip
    return Scene(
        id="x-1", title="x", source="x", digest="d" * 64, assets=(asset,), shape=shape, crs="EPSG:32631",
        bands=tuple(
            Band(name=name, asset=0, bidx=i + 1, dtype="uint16", scale=0.5, offset=-1.0)
            for i, name in enumerate(bands)
        ),
        transform=(10, 0, 0, 0, -10, 0), gsd_m=10.0,
    )  # fmt: skip


def a_contract(chip_px: int = 32, stride_px: int = 20) -> Contract:
    classes = tuple(ModelClass(value=i, name=n, color="#000000") for i, n in enumerate(("a", "b")))
    return Contract(
        name="m", kind="segmentation", bands=("red", "nir"), units="dn", mean=(50, 50), std=(20, 20),
        chip_px=chip_px, stride_px=stride_px, classes=classes,
    )  # fmt: skip


def a_bench(shape: tuple[int, int], seed: int = 1, *, holes: bool = True) -> ArrayBench:
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 100, (2, *shape)).astype(np.float32)
    return ArrayBench(data, rng.random(shape) > 0.1 if holes else None)


def assembled(flow: Flow, bench: ArrayBench, tile_px: int) -> tuple[np.ndarray, np.ndarray]:
    """The whole layer from tiles of `tile_px`."""
    shape = flow.layer.shape
    grid = TileGrid(shape=shape, tile_px=tile_px)
    data = np.full((len(flow.layer.bands), *shape), np.nan, np.float32)
    valid = np.zeros(shape, bool)
    for tile in walk(build_schedule(flow, [grid.window(*at) for at in grid]), bench):
        cut = tile.window.within(whole(shape))
        data[:, *cut], valid[cut] = tile.data, tile.mask()
    return data, valid


LOCAL_FLOWS = {
    "read": lambda f: f,
    "reflectance": lambda f: f.reflectance(),
    "select": lambda f: f.select("nir"),
    "normalise": lambda f: f.normalise((1.0, 2.0), (3.0, 4.0)),
    "index": lambda f: f.reflectance().index("ndvi", "nir", "red"),
    "focal mean": lambda f: f.focal_mean(2),
    "coarser": lambda f: f.resample(23.0),
    "finer": lambda f: f.resample(7.0),
    "function": lambda f: f.apply(lambda a: np.cumsum(a, 0), label="old", revision="1", halo_px=2),
    "stack": lambda f: f.stack(f.focal_mean(1), f.focal_mean(3)),
    "blend": lambda f: f.predict("m" * 64, a_contract(), batch=3),
    "argmax of focal mean": lambda f: f.focal_mean(1).predict("m" * 64, a_contract()).argmax(),
}


@pytest.mark.parametrize("name", LOCAL_FLOWS)
@settings(max_examples=12, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    small=st.integers(8, 40),
    large=st.integers(41, 128),
    holes=st.booleans(),
)
def test_bytes_do_not_depend_on_tile_size(name, shape, small, large, holes):
    flow = LOCAL_FLOWS[name](Flow.open(a_scene(shape)))
    one, other = (assembled(flow, a_bench(shape, holes=holes), px) for px in (small, large))
    np.testing.assert_array_equal(one[1], other[1])
    assert one[0].tobytes() == other[0].tobytes()


def test_focal_mean_is_the_mean_of_valid_neighbours():
    bench = a_bench((30, 40))
    flow = Flow.open(a_scene((30, 40))).focal_mean(2)
    tile = compute(flow, Window(row_off=0, col_off=11, height=1, width=1), bench)
    around = bench.valid[0:3, 9:14]
    np.testing.assert_allclose(tile.data[:, 0, 0], bench.data[:, 0:3, 9:14][:, around].mean(axis=1), rtol=1e-6)


def test_resample_by_a_whole_number_is_the_block_mean():
    bench = a_bench((40, 60), holes=False)
    flow = Flow.open(a_scene((40, 60))).resample(40.0)
    expected = bench.data.reshape(2, 10, 4, 15, 4).mean(axis=(2, 4))
    np.testing.assert_allclose(assembled(flow, bench, 7)[0], expected, rtol=1e-5)


def test_reflectance_applies_the_scenes_own_scale():
    bench = a_bench((9, 9), holes=False)
    data, _ = assembled(Flow.open(a_scene((9, 9))).reflectance(), bench, 4)
    np.testing.assert_allclose(data, bench.data * 0.5 - 1.0)


def test_an_identity_network_blended_back_equals_its_input():
    class Identity(ArrayBench):
        def predict(self, model, chips):
            return chips.copy()

    bench = Identity(np.random.default_rng(0).random((2, 70, 50)).astype(np.float32))
    contract = a_contract().model_copy(update={"mean": (0.0, 0.0), "std": (1.0, 1.0)})
    data, _ = assembled(Flow.open(a_scene((70, 50))).predict("m" * 64, contract), bench, 16)
    np.testing.assert_allclose(data, bench.data, rtol=1e-5)


def test_chips_are_computed_once_each_and_in_batches():
    bench = a_bench((100, 100), holes=False)
    flow = Flow.open(a_scene((100, 100))).predict("m" * 64, a_contract(), batch=4)
    assembled(flow, bench, 16)
    chips = len(plan_chips(100, chip_px=32, stride_px=20)) ** 2
    assert sum(bench.batches) == chips
    assert max(bench.batches) == 4


@given(length=st.integers(1, 400), chip=st.integers(1, 64), data=st.data())
def test_chips_cover_every_pixel_and_stay_inside(length, chip, data):
    stride = data.draw(st.integers(1, chip))
    offsets = plan_chips(length, chip_px=chip, stride_px=stride)
    covered = np.zeros(length, bool)
    for offset in offsets:
        assert offset + chip <= max(length, chip)
        covered[offset : offset + chip] = True
    assert covered.all()
    assert list(offsets) == sorted(set(offsets))


@given(shape=st.tuples(st.integers(1, 500), st.integers(1, 500)), tile_px=st.integers(1, 300))
def test_tiles_cover_every_pixel_exactly_once(shape, tile_px):
    grid = TileGrid(shape=shape, tile_px=tile_px)
    seen = np.zeros(shape, np.uint8)
    for at in grid:
        seen[grid.window(*at).within(whole(shape))] += 1
    assert (seen == 1).all()
    assert grid.size == len(list(grid))


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    tile_px=st.integers(8, 128),
    block=st.sampled_from([(1, 300), (64, 64), (16, 256), (256, 256)]),
    kind=st.sampled_from(["tiles", "pixels"]),
)
def test_a_plan_accounts_for_every_tile_once(shape, tile_px, block, kind):
    source = Flow.open(a_scene(shape))
    flow = source.tile_mean(tile_px, 1.0) if kind == "tiles" else source.predict("m" * 64, a_contract())
    layout = SourceLayout(block_shape=block, width=shape[1], bands_per_block=2, sample_bytes=2)
    allow = Allowance(memory_bytes=2**31, workers=2)
    plan = plan_run(flow, base=source.layer, tile_px=tile_px, layout=layout, recipe={}, allow=allow)
    seen = np.zeros((plan.grid.rows, plan.grid.cols), int)
    for unit in plan.units:
        assert unit.tiles == sum(tiles.size for tiles, _ in plan.windows(unit))
        for tiles, _ in plan.windows(unit):
            seen[tiles.within(whole(seen.shape))] += 1
    assert (seen == 1).all()
    assert len({unit.key for unit in plan.units}) == len(plan.units)


def a_plan(**changes):
    source = Flow.open(a_scene((512, 2000)))
    flow = source.predict("m" * 64, a_contract())
    layout = SourceLayout(block_shape=(64, 64), width=2000, bands_per_block=2, sample_bytes=2)
    spec = {"base": source.layer, "tile_px": 64, "layout": layout, "recipe": {"backend": "x"}} | changes
    return plan_run(flow, **({"allow": Allowance(memory_bytes=2**31, workers=2)} | spec))


def test_unit_keys_do_not_depend_on_the_machine():
    small = a_plan(allow=Allowance(memory_bytes=2**30, workers=1))
    large = a_plan(allow=Allowance(memory_bytes=2**34, workers=16))
    assert [u.key for u in small.units] == [u.key for u in large.units]


def test_unit_keys_change_with_whatever_changes_the_pixels():
    keys = {a_plan().units[0].key, a_plan(recipe={"backend": "y"}).units[0].key, a_plan(tile_px=128).units[0].key}
    assert len(keys) == 3


def test_too_little_memory_is_refused_with_the_least_that_would_do():
    with pytest.raises(MemoryBudgetError, match=r"needs at least \d+ MiB"):
        a_plan(allow=Allowance(memory_bytes=2**20, workers=1))


def test_more_cores_never_give_fewer_workers_nor_more_memory_than_allowed():
    source = Flow.open(a_scene((8192, 2000)))
    layout = SourceLayout(block_shape=(1024, 1024), width=2000, bands_per_block=13, sample_bytes=2)
    allowed = 2**30
    plans = [
        plan_run(
            source.predict("m" * 64, a_contract()),
            base=source.layer,
            tile_px=64,
            layout=layout,
            recipe={},
            allow=Allowance(memory_bytes=allowed, workers=cores),
        )
        for cores in (1, 2, 4, 6, 8, 16, 64)
    ]
    workers = [plan.workers for plan in plans]
    assert workers == sorted(workers)
    assert 1 < workers[-1] < len(plans[-1].units)
    assert max(plan.peak_bytes for plan in plans) <= allowed


def test_peak_of_a_unit_does_not_grow_with_the_scenes_width():
    def peak(width: int) -> int:
        source = Flow.open(a_scene((64, width)))
        grid = TileGrid(shape=(64, width), tile_px=64)
        flow = source.focal_mean(2).predict("m" * 64, a_contract())
        return build_schedule(flow, [grid.window(*at) for at in grid]).peak_bytes

    assert peak(6400) <= 1.01 * peak(1600)


def test_live_arrays_never_exceed_the_planned_peak():
    live = {"now": 0, "peak": 0}

    class Counting(ArrayBench):
        def read(self, bands, window):
            data, valid = super().read(bands, window)
            live["now"] += data.nbytes
            live["peak"] = max(live["peak"], live["now"])
            import weakref

            weakref.finalize(data, lambda n=data.nbytes: live.update(now=live["now"] - n))
            return data, valid

    shape = (128, 1024)
    flow = Flow.open(a_scene(shape)).focal_mean(3)
    grid = TileGrid(shape=shape, tile_px=64)
    schedule = build_schedule(flow, [grid.window(*at) for at in grid])
    for _ in walk(schedule, Counting(a_bench(shape).data)):
        pass
    assert 0 < live["peak"] <= schedule.peak_bytes < a_bench(shape).data.nbytes


def test_what_an_old_function_made_of_nodata_is_not_valid():
    shape = (20, 30)
    data, valid = np.ones((2, *shape), np.float32), np.ones(shape, np.bool_)
    data[:, 5, 7], valid[5, 7] = -9999, False

    def smooth(a):
        steps = range(-2, 3)
        return sum(np.roll(a, (down, right), (1, 2)) for down in steps for right in steps) / 25

    flow = Flow.open(a_scene(shape)).apply(smooth, label="smooth", revision="1", halo_px=2)
    tile = compute(flow, whole(shape), ArrayBench(data, valid))
    assert (tile.data[:, tile.mask()] == 1).all()
    assert np.argwhere(~tile.mask()).tolist() == [[row, col] for row in range(3, 8) for col in range(5, 10)]


@pytest.mark.parametrize(
    ("chain", "error"),
    [
        (lambda f: f.select("blue"), BandMismatchError),
        (lambda f: f.index("n", "a", "b"), BandMismatchError),
        (lambda f: f.focal_mean(-1), ContractError),
        (lambda f: f.resample(-1), ContractError),
        (lambda f: f.stack(f.resample(20)), ContractError),
    ],
)
def test_a_flow_that_makes_no_sense_is_refused_when_it_is_built(chain, error):
    with pytest.raises(error):
        chain(Flow.open(a_scene((10, 10))))


def test_a_function_that_loses_pixels_is_refused():
    flow = Flow.open(a_scene((10, 10))).apply(lambda a: a[:, 1:], label="bad", revision="1")
    with pytest.raises(ContractError, match="bad"):
        compute(flow, whole((10, 10)), a_bench((10, 10)))


def test_an_empty_window_cannot_be_made():
    with pytest.raises(WindowError):
        Window(row_off=0, col_off=0, height=0, width=1)


def test_a_function_that_makes_other_bands_than_it_names_is_refused():
    flow = Flow.open(a_scene((10, 10))).apply(lambda a: a[:1], label="mean", revision="1")
    with pytest.raises(ContractError, match="mean turned 2 bands into 1, where 2 are expected; name those it makes"):
        compute(flow, whole((10, 10)), a_bench((10, 10)))
    named = Flow.open(a_scene((10, 10))).apply(lambda a: a[:1], label="mean", revision="1", bands=("mean",))
    assert compute(named, whole((10, 10)), a_bench((10, 10))).data.shape == (1, 10, 10)


@pytest.mark.parametrize("ratio", [2, 12, 28, 40])
def test_a_coarse_pixel_that_is_half_known_is_known_at_any_ratio(ratio):
    shape = (ratio, ratio)
    valid = np.zeros(shape, np.bool_)
    valid[: ratio // 2] = True
    flow = Flow.open(a_scene(shape)).resample(ratio * a_scene(shape).gsd_m)
    assert compute(flow, whole((1, 1)), ArrayBench(np.ones((2, *shape), np.float32), valid)).mask().all()
