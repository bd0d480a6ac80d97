"""The flow from scenes to maps: ingest → tile → plan → infer → publish of each; one that fails stops no other."""

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

from flows.tasks import STOP, infer_run, ingest, plan_run, publish_run, tile_scene
from services.core.errors import CoverageError, RetryableError, SwathError
from services.core.raster.href import shown_href
from services.core.signals import stop_on_signals

#: Steps under way at once: the next scene is fetched and tiled while this one is inferred.
STEPS_AT_ONCE = 2
_RUNNER: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=STEPS_AT_ONCE)

#: Nobody is told what runs here; and a busy machine takes longer than Prefect's 20 s to start its API.
_LOCAL_PREFECT = {PREFECT_SERVER_ANALYTICS_ENABLED: False, PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 180}

Step = PrefectFuture[Any]


def make_maps(sources: list[str], model: str, out: str, request: dict[str, Any]) -> list[dict[str, Any]]:
    """The flow in this process, whether or not a server of Prefect's is there.

    Raises:
        RetryableError: Prefect's API does not answer.
    """
    with temporary_settings(_LOCAL_PREFECT), _reached():
        return scenes_to_maps(sources, model, out, request)


@contextmanager
def _reached() -> Iterator[None]:
    """Prefect has one plain error for an API that does not answer, its own or the one that PREFECT_API_URL names."""
    try:
        yield
    except RuntimeError as exc:
        if "API" not in str(exc):
            raise
        raise RetryableError(f"Prefect does not answer ({exc}); look at PREFECT_API_URL, or unset it") from exc


@flow(name="scenes-to-maps", task_runner=_RUNNER, persist_result=False)  # type: ignore[arg-type]  # TaskRunner is invariant
def scenes_to_maps(sources: list[str], model: str, out: str, request: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per scene, in order: what was published, or why it was not."""
    with stop_on_signals(STOP):  # in place of Prefect's own handler, which would leave at once
        steps = [_submit(source, model, out, request) for source in sources]
        wait([step for scene in steps for step in scene])
    return [
        _row(shown_href(source), [step.state for step in scene]) for source, scene in zip(sources, steps, strict=True)
    ]


def _submit(source: str, model: str, out: str, request: dict[str, Any]) -> list[Step]:
    """The steps of one scene; each takes the future of the one before."""
    scene = ingest.submit(source)
    ready = tile_scene.submit(scene)  # type: ignore[call-overload]  # Prefect resolves futures
    run = plan_run.submit(ready, model, out, request)
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
