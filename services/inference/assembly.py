"""Turn what a run's units left into its product, once, whoever asks."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from services.core.errors import CoverageError, RetryableError
from services.core.heap import trim_heap
from services.core.product.publish import publish, verify_files
from services.core.product.spec import ProductSpec
from services.core.raster.crop import crop_like
from services.core.records import Product, Run, RunProgress, RunState
from services.core.site import Site
from services.core.unit import UnitBlock, read_intact
from services.core.worker import worker_alive
from services.inference.hold import StoppedError, hold_claims
from services.inference.task import Task

#: How often to look whether another process has made the product.
POLL_S = 0.5


class UnitLostError(CoverageError):
    """A finished unit's object is gone or damaged; its row has been taken back, so working on makes it again."""


class UnitsPendingError(RetryableError):
    """Units are not done yet: whoever works on them, or a resume, brings them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a finished run comes to."""

    run: Run
    progress: RunProgress
    product: Product


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """What a published run has lost since."""

    files: tuple[str, ...]  #: of the product
    units: int  #: whose objects are gone from the store, or changed

    def __str__(self) -> str:
        units = [f"{self.units} of its units in the store"] if self.units else []
        return f"{', '.join([*self.files, *units])} missing or not what was published"


def finish(site: Site, task: Task, *, stop: threading.Event) -> Outcome:
    """Assemble and publish, once, whoever asks; while another process is at it, wait for its product.

    Raises:
        UnitLostError, UnitsPendingError: A unit's object is lost, or it is not done; nothing is published.
        StoppedError: `stop` was set before the product was made.
    """
    run_id = task.run.id
    while (product := site.catalog.find_product(run_id)) is None:
        site.ledger.release_dead(run_id, worker_alive)
        with hold_claims(site.ledger, run_id, lease_s=site.settings.lease_s) as worker:
            if site.ledger.claim_assembly(run_id, worker):
                product = site.catalog.find_product(run_id) or _assemble(site, task, worker, stop)
                break
        if stop.wait(POLL_S):
            raise StoppedError(run_id)
    site.ledger.set_state(run_id, RunState.PUBLISHED)
    return Outcome(run=site.catalog.run(run_id), progress=site.ledger.progress(run_id), product=product)


def take_back_damage(site: Site, task: Task) -> Damage | None:
    """Forget the units of a published run that are lost, and say what else of it is not what it was; None: all is."""
    product = site.catalog.product(task.run.id)
    files = verify_files(product, site.settings)
    _forget_lost(site, task)
    units = site.ledger.lost(task.run.id)  # other runs may have found some, too
    return Damage(files=tuple(f"{product.href}/{name}" for name in files), units=units) if files or units else None


def _assemble(site: Site, task: Task, worker: str, stop: threading.Event) -> Product:
    """The files first, then the row that points to them.

    The claim may be lost on the way, with a database that was away for longer than a lease: it is asked for once more.
    """
    if missing := site.ledger.pending(task.run.id) + site.ledger.lost(task.run.id):
        raise UnitsPendingError(
            f"{missing} units of run {task.run.id} are not done yet; wait for its workers, or compute them with: "
            f"{_resume(task)}"
        )
    # What the network worked in is free now, a quarter of the process: without this the map would come on top of it.
    trim_heap()
    blocks = _blocks(site, task, stop)
    product = publish(
        _spec(site, task),
        blocks,
        out=task.run.out,
        settings=site.settings,
        scratch=site.scratch,
        still_ours=lambda: site.ledger.claim_assembly(task.run.id, worker),
    )
    site.catalog.add_product(product)
    return product


def _spec(site: Site, task: Task) -> ProductSpec:
    job = task.job
    return ProductSpec(
        run=task.run,
        scene=crop_like(site.catalog.scene(task.run.scene_id), job.scene),
        contract=job.contract,
        grid=job.plan.grid,
        step=job.base.step,
        on_tiles=job.plan.on_tiles,
        flow=job.flow.describe(),
        plan=job.plan.summary(),
        code_version=task.run.code_version,
        finished_at=datetime.now(UTC),
        reused=site.ledger.progress(task.run.id).tiles_reused,
        model_item=task.package.item,
        model_href=site.catalog.model(task.run.model_digest).href,
    )


def _blocks(site: Site, task: Task, stop: threading.Event) -> Iterator[UnitBlock]:
    """The units' objects in row order, each checked against its row."""
    for _, result in site.ledger.results(task.run.id):
        if stop.is_set():
            raise StoppedError(task.run.id)
        data = read_intact(site.store, result)
        if data is None:
            raise UnitLostError(
                f"{_forget_lost(site, task)} units of run {task.run.id} are missing or damaged in the store; "
                f"compute them again with: {_resume(task)}"
            )
        yield UnitBlock.decode(data)


def _forget_lost(site: Site, task: Task) -> int:
    """Take back the rows of all units whose objects are not what they promise; returns how many."""
    lost = [result.key for _, result in site.ledger.results(task.run.id) if read_intact(site.store, result) is None]
    for key in lost:
        site.ledger.forget_result(key)
    return len(lost)


def _resume(task: Task) -> str:
    return f"swath resume {task.run.id}"
