"""`python -m flows.pipeline SCENE... --model MODEL`: ingest → tile → infer → publish over many scenes, in Prefect.

It runs with no server: Prefect's own ephemeral API is enough. A scene that fails never stops the others.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, wait
from prefect.settings import (
    PREFECT_SERVER_ANALYTICS_ENABLED,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    temporary_settings,
)
from prefect.task_runners import ThreadPoolTaskRunner

from flows.tasks import infer_run, ingest, plan_run, publish_run, tile_scene
from services.core.boxes import parse_bbox
from services.core.command import run_command
from services.core.entry_point import ArgumentParser, worst_code
from services.core.errors import CoverageError, RetryableError, SwathError
from services.core.log import configure_logging
from services.core.raster.href import shown_href
from services.core.settings import load_settings
from services.inference.runs import resolve_out

#: Steps under way at once: the next scene is fetched and tiled while this one is inferred.
STEPS_AT_ONCE = 2
_RUNNER: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=STEPS_AT_ONCE)

#: Nobody is told what runs here; and a busy machine takes longer than Prefect's 20 s to start its API.
_LOCAL_PREFECT = {PREFECT_SERVER_ANALYTICS_ENABLED: False, PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 180}

Step = PrefectFuture[Any]


@flow(name="scenes-to-maps", task_runner=_RUNNER, persist_result=False)  # type: ignore[arg-type]  # TaskRunner is invariant
def scenes_to_maps(sources: list[str], model: str, out: str, request: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per scene, in order: what was published, or why it was not."""
    steps = [_submit(source, model, out, request) for source in sources]
    wait([step for scene in steps for step in scene])
    return [
        _row(shown_href(source), [step.state for step in scene]) for source, scene in zip(sources, steps, strict=True)
    ]


def _submit(source: str, model: str, out: str, request: dict[str, Any]) -> list[Step]:
    """The steps of one scene; each takes the future of the one before."""
    options = {"--tile-px": request["tile_px"], "--gsd": request["gsd_m"], "--bbox": request["bbox"]}
    command = run_command([source], model=model, out=out, options=options)
    scene = ingest.submit(source)
    ready = tile_scene.submit(scene)  # type: ignore[call-overload]  # Prefect resolves futures
    run = plan_run.submit(ready, model, out, command, request)
    done = infer_run.submit(run)  # type: ignore[call-overload]
    return [scene, ready, run, done, publish_run.submit(done)]


def _row(source: str, states: list[State[Any]]) -> dict[str, Any]:
    """The published product, or the first step that failed and its sentence."""
    for state in states:
        if state.is_failed() or state.is_crashed():
            error = state.result(raise_on_failure=False)
            code = error.exit_code if isinstance(error, SwathError) else 1
            return {"source": source, "state": "failed", "error": str(error), "exit_code": code}
    made = states[-1].result()
    masked = made["tiles"]["tiles_masked"]
    return {"source": source, "exit_code": CoverageError.exit_code if masked else 0, **made}


def main(argv: list[str] | None = None) -> int:
    """Run the flow in this process; the exit code is that of the scene that went worst."""
    parser = ArgumentParser(prog="python -m flows.pipeline", description=__doc__)
    parser.add_argument("scenes", nargs="+", metavar="SCENE")
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", default=None, help="folder or s3:// prefix; default: products in SWATH_HOME")
    parser.add_argument("--tile-px", type=int, default=None)
    parser.add_argument("--gsd", type=float, default=None, help="pixel size in metres; default: the scene's")
    parser.add_argument("--bbox", default=None, help="map this part only: west,south,east,north in degrees")
    args = parser.parse_args(argv)
    try:
        settings = load_settings()
        request = {"tile_px": args.tile_px, "gsd_m": args.gsd, "bbox": parse_bbox(args.bbox)}
        configure_logging(settings.log_level)
        with temporary_settings(_LOCAL_PREFECT), _reached():
            rows = scenes_to_maps(args.scenes, args.model, resolve_out(args.out, settings), request)
    except SwathError as exc:
        sys.stderr.write(f"swath: {exc}\n")
        return exc.exit_code
    for row in rows:
        sys.stdout.write(json.dumps(row) + "\n")
    return worst_code(row["exit_code"] for row in rows)


@contextmanager
def _reached() -> Iterator[None]:
    """Prefect has one plain error for an API that does not answer, its own or the one that PREFECT_API_URL names."""
    try:
        yield
    except RuntimeError as exc:
        if "API" not in str(exc):
            raise
        raise RetryableError(f"Prefect does not answer ({exc}); look at PREFECT_API_URL, or unset it") from exc


if __name__ == "__main__":
    sys.exit(main())
