"""Work through the units of a run: claim, compute, put the object, then commit its row."""

import hashlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass

from services.core.catalog.ledger import Ledger
from services.core.job import Job
from services.core.log import get_logger
from services.core.model.backends import Backend
from services.core.names import unit_object_key, unit_result_key
from services.core.raster.cache import block_cache
from services.core.raster.read import OpenAsset
from services.core.records import PlannedUnit, UnitResult
from services.core.scene_bench import SceneBench
from services.core.storage import ObjectStore
from services.core.worker import worker_alive
from services.inference.hold import StoppedError, hold_claims
from services.inference.unit import compute_unit

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lanes:
    """What worker threads share."""

    job: Job
    run_id: str
    ledger: Ledger
    store: ObjectStore
    backend: Backend | None
    lease_s: float
    open_asset: OpenAsset | None = None
    indices: range | None = None  #: the units of this shard; None: all
    #: Called with tiles and masked tiles of each finished unit, from worker threads.
    progress: Callable[[int, int], None] = lambda _tiles, _masked: None


def run_units(lanes: Lanes, stop: threading.Event) -> None:
    """Compute every unit nobody else has done, on as many threads as the plan allows; returns when all are done.

    Raises:
        RetryableError: Storage or catalog went away, or `stop` was set; claims are given back first.
    """
    with (
        hold_claims(lanes.ledger, lanes.run_id, lease_s=lanes.lease_s) as worker,
        block_cache(lanes.job.plan.cache_bytes),
    ):
        _drain(lanes, worker, stop)
        while not stop.is_set() and lanes.ledger.pending(lanes.run_id, indices=lanes.indices):
            # Another process holds the rest: wait for it, or inherit what it lets go of.
            stop.wait(min(1.0, lanes.lease_s / 4))
            lanes.ledger.release_dead(lanes.run_id, worker_alive)
            _drain(lanes, worker, stop)
    if stop.is_set():
        raise StoppedError(lanes.run_id)


def _drain(lanes: Lanes, worker: str, stop: threading.Event) -> None:
    """Compute all units that can be claimed now."""
    workers = lanes.job.plan.workers  # as many as fit the memory together
    failed = threading.Event()  # not `stop`: that one is for the caller's other scenes as well

    def may_go_on() -> bool:
        return not (stop.is_set() or failed.is_set())

    with ThreadPoolExecutor(workers, thread_name_prefix="swath") as pool:
        futures = [pool.submit(_work, lanes, worker, may_go_on) for _ in range(workers)]
        finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
        if any(future.exception() for future in finished):
            failed.set()
    for future in futures:
        future.result()


def _work(lanes: Lanes, worker: str, may_go_on: Callable[[], bool]) -> None:
    bench = SceneBench(lanes.job.scene, lanes.job.bands, lanes.backend, open_asset=lanes.open_asset)
    try:
        while may_go_on():
            unit = lanes.ledger.claim_unit(lanes.run_id, worker, indices=lanes.indices)
            if unit is None:
                return
            _finish(lanes, worker, unit, bench)
    finally:
        bench.close()


def _finish(lanes: Lanes, worker: str, unit: PlannedUnit, bench: SceneBench) -> None:
    started = time.perf_counter()
    block = compute_unit(lanes.job, unit, bench)
    bench.reader.check_unchanged()  # a file replaced meanwhile must not leave its pixels under the old one's name
    data = block.encode()
    sha256 = hashlib.sha256(data).hexdigest()
    object_key = unit_object_key(unit.key, sha256)
    lanes.store.put(object_key, data)  # object first: a row without its object would be a hole
    result = UnitResult(
        key=unit_result_key(unit.key, sha256, masked=block.masked),
        object_key=object_key,
        sha256=sha256,
        tiles=unit.tiles,
        masked=block.masked,
        seconds=time.perf_counter() - started,
    )
    lanes.ledger.finish_unit(lanes.run_id, unit.index, worker, result)
    log.debug("unit finished", unit=unit.index, tiles=unit.tiles, masked=block.masked, seconds=result.seconds)
    lanes.progress(unit.tiles, block.masked)
