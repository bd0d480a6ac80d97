"""What hides tiles of a unit masks them and no others, and everything else is computed and counted once."""

import errno
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.core.errors import StorageUnavailableError, UnanswerableError, UnreadableSceneError
from services.core.flow.execute import compute
from services.core.flow.plan import Allowance
from services.core.grid import Window
from services.core.job import Job, JobRequest, plan_job
from services.core.model.contract import Contract, ModelClass
from services.core.model.statistics import Tally
from services.core.raster.open import open_scene
from services.core.raster.read import SceneReader
from services.core.scene_bench import SceneBench
from services.core.scenes import asset_opener
from services.core.settings import Settings
from services.core.storage import files
from services.core.storage.files import FileStore
from services.core.unit import COMPUTED, MASKED, UnitBlock
from services.inference.unit import compute_unit
from tests.scenes import Look, damage_block, make_pixels, write_scene

CLASSES = tuple(ModelClass(value=value, name=f"c{value}", color="#000000") for value in (0, 1))
LOOK = Look(shape=(128, 160), names=("red",), dtype="float32", block_px=32)
#: Kind, stride and tile of each kind of flow; chips have 32 px.
SHAPES = {
    "smooth": ("classification", 32, 8),
    "tiled": ("classification", 32, 32),
    "map": ("segmentation", 24, 20),
    "scores": ("threshold", 32, 20),
}


class Network:
    """Answers by brightness, and has no number for chips with a pixel of more than a thousand deviations."""

    id = "fake:fp32"

    def __init__(self, kind: str) -> None:
        self._per_pixel, self.asked = kind == "segmentation", 0

    def predict(self, chips: np.ndarray) -> np.ndarray:
        self.asked += len(chips)
        level = 1 / (1 + np.exp(-chips[:, 0].clip(-50, 50)))
        level[np.abs(chips).max(axis=(1, 2, 3)) > 1000] = np.nan
        answers = np.stack([level, 1 - level], axis=1).astype(np.float32)
        return answers if self._per_pixel else answers.mean(axis=(2, 3))


def plan(path: Path, shape: str, *, rows: int | None = None) -> Job:
    kind, stride_px, tile_px = SHAPES[shape]
    asked: dict[str, Any] = {"bands": (), "threshold": 0.5} if kind == "threshold" else {"bands": ("red",)}
    contract = Contract(
        name="x", kind=kind, units="dn", mean=(0.5,) * len(asked["bands"]), std=(0.2,) * len(asked["bands"]),
        chip_px=32, stride_px=stride_px, classes=CLASSES, **asked,
    )  # fmt: skip
    allow = Allowance(memory_bytes=2**32, workers=1)
    return plan_job(
        open_scene([str(path)]), contract, "d" * 64, backend_id="fake", request=JobRequest(tile_px=tile_px), allow=allow
    )


def bench_of(job: Job) -> tuple[SceneBench, Network]:
    network = Network(job.contract.kind)
    return SceneBench(job.scene, job.bands, network), network


def compute_all(job: Job, bench: SceneBench) -> list[UnitBlock]:
    return [compute_unit(job, unit, bench) for unit in job.plan.units]


def hidden_one_by_one(job: Job) -> set[tuple[int, int]]:
    """Tiles that cannot be computed alone."""
    bench, _ = bench_of(job)
    hidden = set()
    for unit in job.plan.units:
        for tiles, _window in job.plan.windows(unit):
            for tile, window in job.plan.split(tiles):
                try:
                    compute(job.flow, window, bench)
                except (UnreadableSceneError, UnanswerableError):
                    hidden.add((tile.row_off, tile.col_off))
    return hidden


def masked_in(blocks: list[UnitBlock]) -> set[tuple[int, int]]:
    return {
        (block.row_start + row, col) for block in blocks for row, col in np.argwhere(block.state == MASKED).tolist()
    }


def pixels_of(block: UnitBlock) -> np.ndarray:
    assert block.pixels is not None
    return np.concatenate([pixels for _, pixels in block.pixels], axis=1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("times", [1, 3])
def test_a_disk_that_fails_for_a_moment_leaves_the_bytes_of_one_that_did_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: str, times: int
) -> None:
    job = plan(write_scene(tmp_path / "scene.tif", LOOK), shape)
    (undisturbed, network), (disturbed, again) = bench_of(job), bench_of(job)
    expected = [block.encode() for block in compute_all(job, undisturbed)]
    failing, reads, read = range(3, 3 + times), itertools.count(1), SceneReader._read_part

    def fail_for_a_moment(self: SceneReader, *part: Any) -> None:
        if next(reads) in failing:
            raise UnreadableSceneError("scene.tif is damaged")
        read(self, *part)

    monkeypatch.setattr(SceneReader, "_read_part", fail_for_a_moment)
    assert [block.encode() for block in compute_all(job, disturbed)] == expected
    assert times > 1 or again.asked == network.asked  # read once more on the spot


@pytest.mark.parametrize("shape", SHAPES)
def test_damage_masks_the_tiles_that_hang_on_it_and_alters_no_other(tmp_path: Path, shape: str) -> None:
    whole, damaged = (plan(write_scene(tmp_path / name, LOOK), shape) for name in ("whole.tif", "damaged.tif"))
    damage_block(tmp_path / "damaged.tif", 1, 2)
    clean, made = compute_all(whole, bench_of(whole)[0]), compute_all(damaged, bench_of(damaged)[0])
    assert masked_in(made) == hidden_one_by_one(damaged) != set()
    for expected, block in zip(clean, made, strict=True):
        kept = block.state != MASKED
        assert (block.state[kept] == expected.state[kept]).all()
        np.testing.assert_array_equal(block.answers[:, kept], expected.answers[:, kept])
        assert not block.answers[:, ~kept].any()
        assert len(block.reasons) == block.masked
        if not block.masked:
            assert block.encode() == expected.encode()
        elif shape == "map":
            painted = pixels_of(block) != 255
            np.testing.assert_array_equal(pixels_of(block)[painted], pixels_of(expected)[painted])


def counted(blocks: list[UnitBlock], job: Job) -> int:
    """Answers in the tallies of some units."""
    return sum(sum(Tally(job.contract, block.tally).statistics().classes.values()) for block in blocks)


def test_of_a_damaged_unit_each_chip_that_a_tile_needs_counts_once(tmp_path: Path) -> None:
    whole, damaged = (plan(write_scene(tmp_path / name, LOOK), "smooth") for name in ("whole.tif", "damaged.tif"))
    damage_block(tmp_path / "damaged.tif", 0, 2)
    (unit,) = whole.plan.units
    clean, made = compute_unit(whole, unit, bench_of(whole)[0]), compute_unit(damaged, unit, bench_of(damaged)[0])
    chips = {(row, col) for row in range(13) for col in range(17)}  # 13 by 17 chips begin every 8 px
    struck = {(row, col) for row, col in chips if row < 4 and 4 < col < 12}
    needed = {
        (row - down, col - right)
        for row, col in np.argwhere(made.state == COMPUTED).tolist()
        for down in range(4)
        for right in range(4)
    } & chips
    assert not needed & struck
    assert (counted([clean], whole), counted([made], damaged)) == (len(chips), len(needed))


@pytest.mark.parametrize("shape", ["smooth", "tiled", "map"])
@pytest.mark.parametrize("torn", [False, True])
def test_a_number_beyond_the_network_masks_what_hangs_on_its_chips_and_is_not_counted(
    tmp_path: Path, shape: str, torn: bool
) -> None:
    pixels = make_pixels(LOOK)
    pixels[0, 70, 100] = 1e9  # a fill value that nobody declared
    job = plan(write_scene(tmp_path / "filled.tif", LOOK, pixels=pixels), shape)
    whole = plan(write_scene(tmp_path / "whole.tif", LOOK), shape)
    if torn:
        damage_block(tmp_path / "filled.tif", 2, 1)
    blocks, clean = compute_all(job, bench_of(job)[0]), compute_all(whole, bench_of(whole)[0])
    assert masked_in(blocks) == hidden_one_by_one(job) != set()
    assert any("5e+09 standard deviations" in reason for block in blocks for reason in block.reasons.values())
    assert 0 < counted(blocks, job) < counted(clean, whole)
    for expected, block in zip(clean, blocks, strict=True):
        kept = block.state != MASKED
        np.testing.assert_array_equal(block.answers[:, kept], expected.answers[:, kept])


def test_a_disk_that_fails_after_true_damage_is_not_published_as_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = plan(write_scene(tmp_path / "scene.tif", LOOK), "tiled")
    damage_block(tmp_path / "scene.tif", 0, 1)
    job = plan(tmp_path / "scene.tif", "tiled")
    opener = asset_opener(FileStore(tmp_path / "store"), Settings(home=tmp_path / "home"))
    bench = SceneBench(job.scene, job.bands, Network("classification"), open_asset=opener)
    first, second, *_ = job.plan.units
    assert compute_unit(job, first, bench).masked == 1

    def fail(*_: object) -> str:
        raise OSError(errno.EIO, "Input/output error")

    def unreadable(self: SceneReader, window: Window) -> None:
        raise UnreadableSceneError("scene.tif is damaged")

    monkeypatch.setattr(files.hashlib, "file_digest", fail)
    monkeypatch.setattr(SceneReader, "read", unreadable)
    with pytest.raises(StorageUnavailableError, match="Input/output error"):
        compute_unit(job, second, bench)


def test_a_disk_that_comes_and_goes_is_something_to_try_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = plan(write_scene(tmp_path / "scene.tif", LOOK), "tiled")
    bench, _ = bench_of(job)

    def refuse(_bands: object, _window: Window) -> None:
        raise UnreadableSceneError("scene.tif is damaged")

    monkeypatch.setattr(bench, "read", refuse)  # while a look at the same windows finds nothing wrong
    with pytest.raises(StorageUnavailableError, match="try again"):
        compute_unit(job, job.plan.units[0], bench)
