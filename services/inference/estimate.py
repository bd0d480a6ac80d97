"""How long a run will take: from the units this installation has finished, else from a short trial of its own."""

import time

from services.core.job import Job
from services.core.model.backends import Backend
from services.core.scene_bench import SceneBench
from services.core.scenes import asset_opener
from services.core.site import Site
from services.inference.unit import HIDES_TILES, compute_pieces

#: Tiles of the trial: enough to outlast the first read, few enough to keep `plan` quick.
TRIAL_TILES = 8


def estimate_seconds(site: Site, job: Job, backend: Backend | None, *, reused_units: int) -> float:
    """Seconds of work, on the workers of the plan.

    The pace is that of the finished units of the newest run with this model, tile size and backend. Without one, a few
    tiles in the middle of the scene are computed and thrown away.
    """
    tiles = sum(unit.tiles for unit in job.plan.units) * (1 - reused_units / len(job.plan.units))
    pace = site.ledger.pace(job.model_digest, job.plan.grid.tile_px, job.backend_id)  # seconds of one worker per tile
    if pace is None:
        pace = _trial(site, job, backend)
    return tiles * pace / job.plan.workers


def _trial(site: Site, job: Job, backend: Backend | None) -> float:
    bench = SceneBench(job.scene, job.bands, backend, open_asset=asset_opener(site.store, site.settings))
    unit = job.plan.units[len(job.plan.units) // 2]
    pieces, tiles = [], 0
    for piece in job.plan.windows(unit):
        pieces.append(piece)
        tiles += piece[0].size
        if tiles >= TRIAL_TILES:
            break
    try:
        started = time.perf_counter()
        compute_pieces(job, unit, pieces, bench)
        return (time.perf_counter() - started) / tiles
    except HIDES_TILES:
        return 0.0  # a damaged block: the run will say so, the plan need not
    finally:
        bench.close()
