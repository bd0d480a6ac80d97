"""Where one pixel of a run's map came from. The `swath lineage` command and the API give this one answer."""

import sys
from collections.abc import Sequence
from typing import Any

from services.core.command import repeating_command
from services.core.errors import CoverageError, ObjectNotFoundError
from services.core.flow.plan import Allowance
from services.core.grid import Window
from services.core.job import Job, JobRequest, plan_job
from services.core.model.contract import Contract
from services.core.model.package import ModelPackage
from services.core.names import public_href
from services.core.raster.place import spot_of
from services.core.records import Band, PlannedUnit, Run, Scene, UnitResult
from services.core.scenes import prepared
from services.core.site import Site
from services.core.unit import COMPUTED, STATES, UnitBlock, read_intact

#: Nothing is computed here, and the cut does not depend on the machine.
_UNLIMITED = Allowance(memory_bytes=sys.maxsize, workers=1)


def job_of_run(site: Site, run: Run, package: ModelPackage, *, allow: Allowance, proven: bool = True) -> Job:
    """The very job that a run was planned with, rebuilt from the catalog; opens no network. `proven` as in `prepared`.

    Raises:
        ObjectNotFoundError: Scene, model or the tiler's copy are gone.
    """
    return plan_job(
        _planned_scene(site, run, proven=proven),
        package.contract,
        package.digest,
        backend_id=run.backend,
        request=JobRequest(tile_px=run.tile_px, gsd_m=run.plan.get("gsd_m"), window=_window(run)),
        allow=allow,
    )


def _planned_scene(site: Site, run: Run, *, proven: bool) -> Scene:
    """The scene or the tiler's copy of it: units follow the blocks of the file."""
    scene = site.catalog.scene(run.scene_id)
    if not run.plan["prepared"]:
        return scene
    copy = prepared(scene, site.store, proven=proven)
    if copy is scene:
        raise ObjectNotFoundError(
            f"run {run.id} was planned on the tiler's copy of scene {scene.id}, which is gone or not what it was; make "
            f"it again with: python -m services.tiler {scene.id}"
        )
    return copy


def _window(run: Run) -> Window | None:
    told = run.plan.get("window")
    return None if told is None else Window(**told)


def trace_pixel(site: Site, run_id: str, *, lon: float, lat: float) -> dict[str, Any]:
    """Source and checksum, tile, operators, model, code and the command that repeats it, for one place.

    Args:
        site: Where the run is known.
        run_id: Its id, or the beginning of it.
        lon: Degrees east.
        lat: Degrees north.

    Raises:
        ObjectNotFoundError: No such run; or it has not come to that tile yet; or scene, model or unit are gone.
        WindowError: The place is not in the scene, or not in the part of it that was run.
    """
    run = site.catalog.run(run_id)
    package = site.models.by_digest(run.model_digest)
    job = job_of_run(site, run, package, allow=_UNLIMITED, proven=False)
    scene = site.catalog.scene(run.scene_id)
    down, right = spot_of(job.scene, lon, lat)
    top, left = job.scene.origin
    # The last pixel of a coarser grid may end a little before the scene does.
    row_px, col_px = (
        min(int(at / job.base.step), side - 1) for at, side in zip((down, right), job.base.shape, strict=True)
    )
    row, col = job.plan.grid.tile_at(row_px, col_px)
    unit, result = _unit_of(site, run, row)
    block = _block(site, run, result)
    at = (row - block.row_start, col)
    return {
        "run_id": run.id,
        "pixel": {"lon": lon, "lat": lat, "row": int(down) + top, "col": int(right) + left},
        "tile": {
            "row": row,
            "col": col,
            "state": STATES[int(block.state[at])],
            "valid_fraction": round(float(block.valid_fraction[at]), 6),
            "answer": _answer(job.contract, block, at) if block.state[at] == COMPUTED else None,
            "reason": block.reasons.get(f"{row},{col}"),
        },
        "unit": {"index": unit.index, "key": unit.key, "sha256": result.sha256, "object": result.object_key},
        "scene": {"id": scene.id, "digest": scene.digest, "acquired_at": scene.acquired_at},
        "sources": [{"href": public_href(a.href), "sha256": a.sha256} for a in scene.assets_of(_own(scene, job.bands))],
        "bands": [band.name for band in job.bands],
        "operators": job.flow.operators(),
        "model": {"name": run.model_name, "digest": run.model_digest, "backend": run.backend},
        "code_version": run.code_version,
        "command": repeating_command(run),
    }


def _own(scene: Scene, bands: Sequence[Band]) -> list[Band]:
    """These bands as the scene was ingested: the tiler's copy has them all in one file."""
    names = {band.name for band in bands}
    return [band for band in scene.bands if band.name in names]


def _unit_of(site: Site, run: Run, row: int) -> tuple[PlannedUnit, UnitResult]:
    for unit, result in site.ledger.results(run.id):
        if unit.row_start <= row < unit.row_stop:
            return unit, result
    raise ObjectNotFoundError(f"run {run.id} has nothing for tile row {row}; compute it with: swath resume {run.id}")


def _block(site: Site, run: Run, result: UnitResult) -> UnitBlock:
    """The unit's object, if it still is what was recorded."""
    data = read_intact(site.store, result)
    if data is None:
        raise CoverageError(
            f"a unit of run {run.id} is missing or damaged in the store; compute it again with: swath resume {run.id}"
        )
    return UnitBlock.decode(data)


def _answer(contract: Contract, block: UnitBlock, at: tuple[int, int]) -> dict[str, float]:
    values = [round(float(value), 6) for value in block.answers[:, *at]]
    if contract.kind == "threshold":
        return {"score": values[0]}
    return {c.name: value for c, value in zip(contract.classes, values, strict=True)}
