"""Check a run: recompute units and compare their bytes."""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass

from services.core.grid import TileGrid
from services.core.raster.cache import block_cache
from services.core.records import PlannedUnit, UnitResult
from services.core.scene_bench import SceneBench
from services.core.scenes import asset_opener
from services.core.site import Site
from services.inference.task import Task
from services.inference.unit import compute_unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One recomputed unit: the digest on record and the digest of the bytes made just now."""

    unit: PlannedUnit
    recorded: str
    recomputed: str

    @property
    def same(self) -> bool:
        """The unit's bytes came out the same."""
        return self.recorded == self.recomputed


def pick_units(
    grid: TileGrid, units: list[tuple[PlannedUnit, UnitResult]], *, sample: int | None, seed: int | None
) -> list[tuple[PlannedUnit, UnitResult]]:
    """The units that hold `sample` tiles drawn without replacement; None: every unit.

    Whole units are recomputed because a unit is what has a digest.
    """
    if sample is None or sample >= grid.size:
        return units
    drawn = random.Random(seed).sample(range(grid.size), sample)  # noqa: S311  # a sample, not a secret
    rows = {tile // grid.cols for tile in drawn}
    return [(unit, result) for unit, result in units if any(unit.row_start <= row < unit.row_stop for row in rows)]


def verify_units(
    site: Site, task: Task, *, sample: int | None, seed: int | None, progress: Callable[[int, int], None]
) -> list[Verdict]:
    """Recompute and compare; reads the scene, writes nothing."""
    units = pick_units(task.job.plan.grid, site.ledger.results(task.run.id), sample=sample, seed=seed)
    bench = SceneBench(task.job.scene, task.job.bands, task.backend, open_asset=asset_opener(site.store, site.settings))
    verdicts = []
    try:
        with block_cache(task.job.plan.cache_bytes):
            for unit, result in units:
                data = compute_unit(task.job, unit, bench).encode()
                verdicts.append(Verdict(unit=unit, recorded=result.sha256, recomputed=hashlib.sha256(data).hexdigest()))
                progress(unit.tiles, 0)
    finally:
        bench.close()
    return verdicts
