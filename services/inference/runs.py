"""The life of a run: start it, take it up again anywhere, assemble what its units left."""

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime

from services.core.command import repeating_command
from services.core.errors import (
    DatabaseUnavailableError,
    RequestError,
    StorageUnavailableError,
    SwathError,
)
from services.core.flow.plan import Allowance
from services.core.job import Job, JobRequest, plan_job
from services.core.lineage import job_of_run
from services.core.log import bind, get_logger
from services.core.machine import memory_limit_bytes, usable_cores
from services.core.model.backends import Backend, backend_notes, open_configured, open_pinned
from services.core.model.package import ModelPackage
from services.core.names import absolute, make_run_id
from services.core.product.publish import check_out
from services.core.records import NO_BACKEND, Run, RunState, Scene
from services.core.scenes import asset_opener, prepared
from services.core.settings import Settings
from services.core.site import Site
from services.core.version import code_version
from services.core.worker import worker_alive
from services.inference.assembly import Outcome, UnitLostError, UnitsPendingError, finish
from services.inference.shard import Lanes, run_units
from services.inference.task import Task

log = get_logger(__name__)

LOST_UNIT_ROUNDS = 3


def allowance(site: Site) -> Allowance:
    """Memory and threads of this process: the settings, and never more than its container bears."""
    limit = memory_limit_bytes()
    memory_bytes = site.settings.memory_bytes if limit is None else min(site.settings.memory_bytes, limit)
    return Allowance(memory_bytes=memory_bytes, workers=site.settings.workers or usable_cores())


def resolve_out(out: str | None, settings: Settings) -> str:
    """Where products go, as any later process finds it from any folder: absolute; by default beside the catalog.

    Raises:
        RequestError: It is empty, or nearly a URI.
    """
    if out is None:
        return str(settings.home / "products")
    if not out.strip() or (out.startswith("file:") and "://" not in out):
        raise RequestError(f"--out {out!r} names no place; name a folder, file:///folder or s3://bucket/prefix")
    return absolute(out)


def draft_task(site: Site, scene: Scene, package: ModelPackage, *, request: JobRequest) -> tuple[Job, Backend | None]:
    """Meet scene and model: everything `swath plan` shows and `start_run` commits to."""
    allow = allowance(site)
    backend = _open_backend(site, package, threads=allow.workers)
    job = plan_job(
        prepared(scene, site.store),
        package.contract,
        package.digest,
        backend_id=NO_BACKEND if backend is None else backend.id,
        request=request,
        allow=allow,
    )
    return job, backend


def start_run(site: Site, scene: Scene, package: ModelPackage, *, request: JobRequest, out: str, command: str) -> Task:
    """Plan a run and put it into the ledger; units that an earlier run finished are counted as reused at once.

    Raises:
        PermanentError: Scene and model do not fit.
        ConfigError: `out` cannot be written, or the memory does not suffice.
    """
    job, backend = draft_task(site, scene, package, request=request)
    check_out(out, site.settings)
    site.models.keep(package)
    created_at = datetime.now(UTC)
    run = Run(
        id=make_run_id(created_at, secrets.token_bytes(3)),
        scene_id=scene.id,
        model_name=package.contract.name,
        model_digest=package.digest,
        tile_px=job.plan.grid.tile_px,
        backend=job.backend_id,
        out=out,
        state=RunState.PLANNED,
        command=command,
        code_version=code_version(),
        plan={
            **job.plan.summary(),
            "gsd_m": request.gsd_m,
            "window": None if request.window is None else asdict(request.window),
            "prepared": job.scene.assets != scene.assets,
        },
        created_at=created_at,
    )
    site.ledger.create_run(run, job.plan.units)
    bind(run_id=run.id, scene_id=scene.id)
    return Task(run=run, job=job, package=package, backend=backend)


def take_up(site: Site, run_id: str) -> Task:
    """Rebuild a run's task from the catalog, with the very backend and plan it started with."""
    run = site.catalog.run(run_id)
    package = site.models.by_digest(run.model_digest)
    allow = allowance(site)
    backend = _open_backend(site, package, threads=allow.workers, backend_id=run.backend)
    job = job_of_run(site, run, package, allow=allow)
    bind(run_id=run.id, scene_id=run.scene_id)
    return Task(run=run, job=job, package=package, backend=backend)


def work(
    site: Site,
    task: Task,
    *,
    stop: threading.Event,
    progress: Callable[[int, int], None] | None = None,
    indices: range | None = None,
) -> None:
    """Compute the units of a run (or of one shard) that are not done yet.

    Raises:
        RequestError: The code here would not do the work that the run was planned to do.
    """
    run_id = task.run.id
    check_same_work(site, task)
    site.ledger.release_dead(run_id, worker_alive)
    site.ledger.set_state(run_id, RunState.RUNNING)
    lanes = Lanes(
        job=task.job,
        run_id=run_id,
        ledger=site.ledger,
        store=site.store,
        backend=task.backend,
        lease_s=site.settings.lease_s,
        open_asset=asset_opener(site.store, site.settings),
        indices=indices,
    )
    run_units(lanes if progress is None else replace(lanes, progress=progress), stop)


def complete(
    site: Site, task: Task, *, stop: threading.Event, progress: Callable[[int, int], None] | None = None
) -> Outcome:
    """Work until every unit is done, then publish; units whose objects got lost are computed again."""
    with failing(site, task.run.id):
        for _ in range(LOST_UNIT_ROUNDS):
            if site.ledger.run_state(task.run.id) is not RunState.PUBLISHED:
                work(site, task, stop=stop, progress=progress)
            try:
                return finish(site, task, stop=stop)
            except (UnitLostError, UnitsPendingError) as exc:
                log.warning("not all units are there, going on", error=str(exc))
                check_sources(site, task)
        raise StorageUnavailableError(f"the store keeps losing units of run {task.run.id}; see `swath doctor`")


def plan_shard(units: int, *, index: int, count: int) -> range:
    """The contiguous units of shard `index` of `count`; shards differ by one unit at most.

    Raises:
        RequestError: No such shard.
    """
    if not 0 <= index < count:
        raise RequestError(f"there is no shard {index} of {count}; shards count from 0")
    return range(units * index // count, units * (index + 1) // count)


def check_sources(site: Site, task: Task) -> None:
    """Hash the files of a run taken up again: pixels of another file must not go under its name.

    Raises:
        ObjectNotFoundError: One is gone, or is not the file that was ingested.
        RetryableError: A remote one cannot be fetched.
    """
    open_asset = asset_opener(site.store, site.settings)
    for asset in task.job.scene.assets_of(task.job.bands):
        open_asset(asset)


def check_same_work(site: Site, task: Task) -> None:
    """That a run taken up here is the one that was planned.

    Raises:
        RequestError: The code here would do other work.
    """
    try:
        site.ledger.create_run(task.run, task.job.plan.units)  # a run that is there must have the same units
    except RequestError as exc:
        raise RequestError(
            f"run {task.run.id} was planned by swath {task.run.code_version}, and {code_version()} here would do other "
            f"work; start anew with: {repeating_command(task.run)}"
        ) from exc


@contextmanager
def failing(site: Site, run_id: str) -> Iterator[None]:
    """Write down why a run stopped, so that `swath runs` can say it; the error goes on.

    A shard that gives up has not stopped a run that others are at work on.
    """
    try:
        yield
    except (DatabaseUnavailableError, UnitsPendingError):
        raise  # nowhere to write it; nothing failed
    except SwathError as exc:
        try:
            if not site.ledger.holders(run_id):
                site.ledger.set_state(run_id, RunState.FAILED, error=str(exc))
        except SwathError as second:
            log.warning("state not recorded", run_id=run_id, error=str(second))
        raise


def _open_backend(site: Site, package: ModelPackage, *, threads: int, backend_id: str | None = None) -> Backend | None:
    if package.contract.kind == "threshold":
        return None
    if backend_id is None:
        return open_configured(package, site.settings, threads=threads)
    return open_pinned(package, backend_id, threads=threads, cache=backend_notes(site.settings))
