"""Prefect tasks: each a thin wrapper over one service. Prefect owns retries between steps; the truth is in the ledger.

A task reads the settings of the process it runs in: parameters are kept in Prefect's database, and a database URL
holds a password.
"""

import threading
from typing import Any

from prefect import task
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task as PrefectTask

from services.core.errors import PermanentError, RetryableError
from services.core.ingest import ingest_scene
from services.core.job import JobRequest
from services.core.log import get_logger
from services.core.raster.open import OpenOptions
from services.core.settings import load_settings
from services.core.site import open_site
from services.inference.runs import check_sources, complete, failing, start_run, take_up, work
from services.tiler.prepare import prepare_scene

log = get_logger(__name__)

BACKOFF_S = [2.0, 10.0, 30.0]

#: One run of inference takes every core, and its memory budget is that of the whole process.
_INFERENCE = threading.Lock()


async def worth_retrying(_task: PrefectTask[Any, Any], _run: TaskRun, state: State[Any]) -> bool:
    """Only what may work later: a refusal stays a refusal however often it is asked."""
    error = await state.aresult(raise_on_failure=False)
    return isinstance(error, RetryableError)


_STEP: dict[str, Any] = {
    "retries": len(BACKOFF_S),
    "retry_delay_seconds": BACKOFF_S,
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": worth_retrying,
    "persist_result": False,
}


@task(name="ingest", **_STEP)
def ingest(source: str) -> str:
    """Validate, hash and register one scene; returns its id."""
    with open_site(load_settings()) as site:
        return ingest_scene(site, [source], OpenOptions()).id


@task(name="tile", **_STEP)
def tile_scene(scene_id: str) -> str:
    """Make the scene ready for many readers; returns its id."""
    with open_site(load_settings()) as site:
        try:
            prepare_scene(site, site.catalog.scene(scene_id), tile_px=256)
        except PermanentError as exc:  # inference reads the file itself, and masks what is damaged
            log.warning("scene cannot be copied, going on without", scene_id=scene_id, error=str(exc))
        return scene_id


@task(name="plan", **_STEP)
def plan_run(scene_id: str, model: str, out: str, command: str, request: dict[str, Any]) -> str:
    """Put a run into the ledger; returns its id. `request` is what `JobRequest.of` takes beside the scene."""
    with open_site(load_settings()) as site:
        package = site.models.find(model)
        scene = site.catalog.scene(scene_id)
        wanted = JobRequest.of(scene, **request)
        return start_run(site, scene, package, request=wanted, out=out, command=command).run.id


@task(name="infer", **_STEP)
def infer_run(run_id: str) -> str:
    """Compute every unit that is not done; on a retry, only what is missing."""
    with _INFERENCE, open_site(load_settings()) as site, failing(site, run_id):
        run = take_up(site, run_id)
        check_sources(site, run)
        work(site, run, stop=threading.Event())
        return run_id


@task(name="publish", **_STEP)
def publish_run(run_id: str) -> dict[str, Any]:
    """Assemble and publish; returns where the product is and its coverage. Units that got lost are computed again."""
    with _INFERENCE, open_site(load_settings()) as site:
        outcome = complete(site, take_up(site, run_id), stop=threading.Event())
        return {
            "run_id": run_id,
            "product": outcome.product.href,
            "state": outcome.run.state.value,
            "tiles": outcome.progress.model_dump(),
        }
