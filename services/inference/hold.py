"""Hold on to what this process has claimed of a run, and let go of it at the end."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from services.core.catalog.ledger import Ledger
from services.core.errors import DatabaseUnavailableError, RetryableError, SwathError
from services.core.log import get_logger
from services.core.worker import worker_name

log = get_logger(__name__)


class StoppedError(RetryableError):
    """Asked to stop (SIGTERM, Ctrl-C): finished units are kept, the run can be resumed."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id} was asked to stop; go on with: swath resume {run_id}")


@contextmanager
def hold_claims(ledger: Ledger, run_id: str, *, lease_s: float) -> Iterator[str]:
    """Renew this process's claims on units and assembly while inside; give back what is left. Yields its name."""
    worker, done = worker_name(), threading.Event()

    def beat() -> None:
        while not done.wait(lease_s / 3):
            try:
                ledger.renew(run_id, worker)
            except SwathError as exc:  # not fatal: the next one may be given, and the work is told what is wrong
                log.warning("heartbeat missed", error=str(exc))

    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    catalog_answers = True
    try:
        yield worker
    except DatabaseUnavailableError:
        catalog_answers = False  # asking again would only take as long again; leases end by themselves
        raise
    finally:
        done.set()
        if catalog_answers:
            heart.join()
            ledger.release(run_id, worker)
