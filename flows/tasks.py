"""Prefect tasks: each a thin wrapper over one service. Prefect owns retries between steps; the truth is in the ledger.

A task reads the settings of the process it runs in: parameters are kept in Prefect's database, and a database URL
holds a password.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect import task
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task as PrefectTask

from services.core.errors import PermanentError, RetryableError
from services.core.ingest import ingest_scene
from services.core.log import get_logger
from services.core.raster.open import OpenOptions
from services.core.settings import load_settings
from services.core.site import Site, open_site
from services.inference.plan import Choice, plan_for_shards
from services.inference.runs import check_sources, complete, failing, take_up, work
from services.tiler.prepare import prepare_scene

log = get_logger(__name__)

BACKOFF_S = [2.0, 10.0, 30.0]

#: Set when the process is asked to stop: steps under way end with what they have, and no other begins.
STOP = threading.Event()

#: One run of inference takes every core, and its memory budget is that of the whole process.
_INFERENCE = threading.Lock()


async def worth_retrying(_task: PrefectTask[Any, Any], _run: TaskRun, state: State[Any]) -> bool:
    """Only what may work later: a refusal stays a refusal however often it is asked."""
    error = await state.aresult(raise_on_failure=False)
    return isinstance(error, RetryableError) and not STOP.is_set()


_STEP: dict[str, Any] = {
    "retries": len(BACKOFF_S),
    "retry_delay_seconds": BACKOFF_S,
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": worth_retrying,
    "persist_result": False,
}


@contextmanager
def _site() -> Iterator[Site]:
    """The installation, unless the process is asked to stop."""
    if STOP.is_set():
        raise RetryableError("the pipeline was asked to stop before this step; start it again to go on")
    with open_site(load_settings()) as site:
        yield site


@task(name="ingest", **_STEP)
def ingest(source: str) -> str:
    """Validate, hash and register one scene; returns its id."""
    with _site() as site:
        return ingest_scene(site, [source], OpenOptions()).id


@task(name="tile", **_STEP)
def tile_scene(scene_id: str) -> str:
    """Make the scene ready for many readers; returns its id."""
    with _site() as site:
        try:
            prepare_scene(site, site.catalog.scene(scene_id), tile_px=256)
        except PermanentError as exc:  # inference reads the file itself, and masks what is damaged
            log.warning("scene cannot be copied, going on without", scene_id=scene_id, error=str(exc))
        return scene_id


@task(name="plan", **_STEP)
def plan_run(scene_id: str, model: str, out: str, request: dict[str, Any]) -> str:
    """Put a run into the ledger; returns its id. `request` is the rest of a `Choice`."""
    with _site() as site:
        return plan_for_shards(site, scene_id, Choice(model=model, out=out, **request)).run.id


@task(name="infer", **_STEP)
def infer_run(run_id: str) -> str:
    """Compute every unit that is not done; on a retry, only what is missing."""
    with _INFERENCE, _site() as site, failing(site, run_id):
        run = take_up(site, run_id)
        check_sources(site, run)
        work(site, run, stop=STOP)
        return run_id


@task(name="publish", **_STEP)
def publish_run(run_id: str) -> dict[str, Any]:
    """Assemble and publish; returns where the product is and its coverage. Units that got lost are computed again."""
    with _INFERENCE, _site() as site:
        outcome = complete(site, take_up(site, run_id), stop=STOP)
        return {
            "run_id": run_id,
            "product": outcome.product.href,
            "state": outcome.run.state.value,
            "tiles": outcome.progress.model_dump(),
        }
