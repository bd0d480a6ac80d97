"""Check a run: recompute units and compare their bytes; and answer, for one pixel, where it came from."""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from services.core.grid import TileGrid
from services.core.raster.place import pixel_at
from services.core.raster.read import block_cache
from services.core.records import PlannedUnit, UnitResult
from services.core.scene_bench import SceneBench
from services.core.scenes import asset_opener
from services.core.site import Site
from services.core.unit import STATES, UnitBlock
from services.inference.job import Task
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
    units = pick_units(task.job.plan.grid, list(site.ledger.results(task.run.id)), sample=sample, seed=seed)
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


def trace_pixel(site: Site, task: Task, *, lon: float, lat: float) -> dict[str, Any]:
    """Source and checksum, tile, operators, model, code and the command that repeats it, for one place.

    Raises:
        WindowError: The place is not in the scene.
    """
    run, job = task.run, task.job
    scene = site.catalog.scene(run.scene_id)
    row_px, col_px = pixel_at(scene, lon, lat)
    row, col = job.plan.grid.tile_at(int(row_px / job.base.step), int(col_px / job.base.step))
    unit, result = next(
        (unit, result) for unit, result in site.ledger.results(run.id) if unit.row_start <= row < unit.row_stop
    )
    block = UnitBlock.decode(site.store.get(result.object_key))
    at = (row - block.row_start, col)
    used = sorted({band.asset for band in job.bands})
    return {
        "run_id": run.id,
        "pixel": {"lon": lon, "lat": lat, "row": row_px, "col": col_px},
        "tile": {
            "row": row,
            "col": col,
            "state": STATES[int(block.state[at])],
            "valid_fraction": round(float(block.valid_fraction[at]), 6),
            "answer": _answer(task, block, at),
            "reason": block.reasons.get(f"{row},{col}"),
        },
        "unit": {"index": unit.index, "key": unit.key, "sha256": result.sha256, "object": result.object_key},
        "scene": {"id": scene.id, "digest": scene.digest, "acquired_at": scene.acquired_at},
        "sources": [{"href": asset.href, "sha256": asset.sha256} for asset in (scene.assets[i] for i in used)],
        "bands": [band.name for band in job.bands],
        "operators": job.flow.operators(),
        "model": {"name": run.model_name, "digest": run.model_digest, "backend": run.backend},
        "code_version": run.code_version,
        "command": run.command,
    }


def _answer(task: Task, block: UnitBlock, at: tuple[int, int]) -> dict[str, float]:
    values = [round(float(value), 6) for value in block.answers[:, *at]]
    if task.job.contract.kind == "threshold":
        return {"score": values[0]}
    return {c.name: value for c, value in zip(task.job.contract.classes, values, strict=True)}
