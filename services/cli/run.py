"""`swath run`, `plan` and `resume`: open the scene, meet the model, work, publish, and say what came of it."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.cli.output import human_bytes, note, print_facts, print_json, say, tile_progress
from services.cli.sources import SceneSource
from services.core.entry_point import worst_code
from services.core.errors import RequestError, SwathError
from services.core.ingest import ingest_scene
from services.core.log import configure_logging, get_logger
from services.core.records import Run
from services.core.settings import load_settings
from services.core.signals import stop_on_signals
from services.core.site import Site, open_site
from services.inference.assembly import Outcome, take_back_damage
from services.inference.estimate import estimate_seconds
from services.inference.plan import Choice, plan_scene
from services.inference.runs import (
    check_same_work,
    check_sources,
    complete,
    draft_task,
    failing,
    take_up,
)
from services.inference.task import Task

log = get_logger(__name__)

MASKED_EXIT_CODE = 65  #: published, but part of the input could not be computed


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions(Choice):
    """How to run, whatever the scenes are."""

    engine: str = "local"
    as_json: bool = False


def run_scenes(sources: Sequence[SceneSource], options: RunOptions, **overrides: object) -> int:
    """Run every scene; one that fails does not stop the others. Returns the worst exit code."""
    if options.engine != "local":
        raise RequestError(f"--engine {options.engine} is not one this installation has; leave it out for `local`")
    settings = load_settings(**overrides)
    configure_logging(settings.log_level)
    codes: list[int] = []
    with open_site(settings) as site, stop_on_signals() as stop:
        for source in sources:
            try:
                _, code = run_source(site, source, options, stop)
            except SwathError as exc:
                if len(sources) == 1 or stop.is_set():
                    raise
                note(f"swath: {exc}")
                code = exc.exit_code
            codes.append(code)
    return worst_code(codes)


def plan_scenes(sources: Sequence[SceneSource], options: RunOptions, **overrides: object) -> int:
    """Show what each run would take."""
    settings = load_settings(**overrides)
    configure_logging(settings.log_level)
    with open_site(settings) as site:
        package = site.models.find(options.model)
        for source in sources:
            scene = ingest_scene(site, source.paths, source.options)
            job, backend = draft_task(site, scene, package, request=options.request(scene))
            reused = site.ledger.count_results([unit.key for unit in job.plan.units])
            facts = {
                "scene": scene.id,
                "model": f"{package.contract.name} {package.digest[:12]}",
                "backend": job.backend_id,
                **job.plan.summary(),
                "units_reusable": reused,
                "seconds": round(estimate_seconds(site, job, backend, reused_units=reused), 2),
            }
            if options.as_json:
                print_json(facts)
            else:
                sizes = {name: human_bytes(facts[name]) for name in ("read_bytes", "peak_memory_bytes")}
                print_facts(facts | sizes)
    return 0


def resume_run(run_id: str, *, as_json: bool, **overrides: object) -> int:
    """Take a run up where it was left; a published one is made good if some of it is damaged, and else reported."""
    settings = load_settings(**overrides)
    configure_logging(settings.log_level)
    with open_site(settings) as site, stop_on_signals() as stop:
        started = time.perf_counter()
        run_id = site.catalog.run(run_id).id
        with failing(site, run_id):
            task = _take_up_checked(site, run_id)
        outcome = _complete(site, task, stop)
        return _report(outcome, time.perf_counter() - started, as_json=as_json)


def _take_up_checked(site: Site, run_id: str) -> Task:
    """A run with its sources there, opened again if what it published is damaged."""
    task = take_up(site, run_id)
    damage = take_back_damage(site, task) if site.catalog.find_product(run_id) is not None else None
    if site.ledger.pending(run_id) or site.ledger.lost(run_id):
        check_sources(site, task)  # first: a whole product stays published where nothing can be computed again
    if damage is not None:
        check_same_work(site, task)
        log.warning("published run opened again", damage=str(damage))
        site.ledger.reopen(run_id, str(damage))
    return task


def run_source(site: Site, source: SceneSource, options: RunOptions, stop: threading.Event) -> tuple[Outcome, int]:
    """Run one scene and report it; returns what came of it and the exit code.

    Raises:
        SwathError: Nothing was published.
    """
    started = time.perf_counter()
    scene = ingest_scene(site, source.paths, source.options)
    task = plan_scene(site, scene, options)
    outcome = _complete(site, task, stop)
    return outcome, _report(outcome, time.perf_counter() - started, as_json=options.as_json)


def _complete(site: Site, task: Task, stop: threading.Event) -> Outcome:
    before = site.ledger.progress(task.run.id)
    done = before.tiles_computed + before.tiles_reused + before.tiles_masked
    with tile_progress(task.run.scene_id, before.tiles_planned, done=done) as advance:
        return complete(site, task, stop=stop, progress=advance)


def _report(outcome: Outcome, seconds: float, *, as_json: bool) -> int:
    run, tiles = outcome.run, outcome.progress
    if as_json:
        print_json(run_summary(outcome, seconds))
    else:
        say(
            f" {run.state}: {tiles.tiles_planned} tiles, computed {tiles.tiles_computed}, "
            f"reused {tiles.tiles_reused}, masked {tiles.tiles_masked}; {seconds:.1f} s",
            lead=run.id,
        )
        for name in (*sorted(outcome.product.files), "manifest.json"):
            say(f"  {outcome.product.href}/{name}")
    if tiles.tiles_masked:
        note(_masked_sentence(run, outcome))
        return MASKED_EXIT_CODE
    return 0


def _masked_sentence(run: Run, outcome: Outcome) -> str:
    named = outcome.product.coverage.get("masked_tiles", [])
    first = f"; the first: tile ({named[0][0]}, {named[0][1]}), {named[0][2]}" if named else ""
    return (
        f"swath: {outcome.progress.tiles_masked} of {outcome.progress.tiles_planned} tiles of run {run.id} could not "
        f"be computed; the map holds nodata there and manifest.json names them{first}"
    )


def run_summary(outcome: Outcome, seconds: float) -> dict[str, Any]:
    """The object that `--json` prints."""
    run, tiles = outcome.run, outcome.progress
    return {
        "run_id": run.id,
        "state": run.state.value,
        "scene_id": run.scene_id,
        "out": run.out,
        "product": outcome.product.href,
        "model": run.model_name,
        "model_digest": run.model_digest,
        "backend": run.backend,
        "tiles": {
            "planned": tiles.tiles_planned,
            "computed": tiles.tiles_computed,
            "reused": tiles.tiles_reused,
            "masked": tiles.tiles_masked,
        },
        "seconds": round(seconds, 3),
    }
