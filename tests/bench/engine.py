"""Child: one run through the real engine: ledger, store, product and all, timed in phases."""

import threading
import time
from pathlib import Path

from tests.bench.process import answer, told

BEGAN = time.perf_counter()


def main() -> None:
    from services.core.job import JobRequest
    from services.core.log import configure_logging
    from services.core.raster.open import open_scene
    from services.core.settings import load_settings
    from services.core.site import open_site
    from services.inference.runs import complete, start_run, take_up

    wish = told()
    home = Path(wish["home"])
    settings = load_settings(home=home, **wish.get("settings", {}))
    configure_logging("warning")
    clock = Clock()
    clock.note("imports")
    with open_site(settings) as site:
        package = site.models.find(wish["model"])
        if run_id := wish.get("resume"):
            task = take_up(site, run_id)
        else:
            scene = open_scene([wish["scene"]])
            site.catalog.add_scene(scene)
            clock.note("open_and_hash")
            request = JobRequest(tile_px=wish.get("tile_px"))
            task = start_run(site, scene, package, request=request, out=str(home / "out"), command="bench")
        clock.note("plan_and_compile")
        print(task.run.id, flush=True)
        outcome = complete(site, task, stop=threading.Event(), progress=clock.progress)
        clock.note("publish", since=clock.last_unit)
    tiles = outcome.progress.tiles_planned
    answer(
        tiles_per_s=tiles / (clock.ended - clock.compute_from),
        tiles=tiles,
        seconds={**clock.phases, "compute": clock.last_unit - clock.compute_from},
        backend=task.job.backend_id,
        workers=task.job.plan.workers,
        planned_peak_bytes=task.job.plan.peak_bytes,
        run_id=task.run.id,
        progress=outcome.progress.model_dump(),
        files=dict(outcome.product.files),
    )


class Clock:
    """Seconds of each phase of the start, and when the last unit was done."""

    def __init__(self) -> None:
        self.phases: dict[str, float] = {}
        self.compute_from = self.last_unit = self.ended = BEGAN

    def note(self, phase: str, *, since: float | None = None) -> None:
        now = time.perf_counter()
        self.phases[phase] = now - (self.compute_from if since is None else since)
        if since is None:
            self.compute_from = now
        self.ended = now

    def progress(self, _tiles: int, _masked: int) -> None:
        self.last_unit = time.perf_counter()


if __name__ == "__main__":
    main()
