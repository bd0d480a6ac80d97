"""The heartbeat of a worker: it goes on as long as the work does."""

import threading

import pytest

from services.core.errors import DatabaseUnavailableError, StorageRefusedError
from services.inference.hold import hold_claims


class FaultyLedger:
    """Fails the first renewals; `renewed` is set by the one that is given."""

    def __init__(self, *faults: Exception) -> None:
        self.faults = list(faults)
        self.renewed = threading.Event()
        self.released: list[str] = []

    def renew(self, run_id: str, worker: str) -> int:
        if self.faults:
            raise self.faults.pop(0)
        self.renewed.set()
        return 1

    def release(self, run_id: str, worker: str) -> int:
        self.released.append(run_id)
        return 1


@pytest.mark.parametrize("fault", [DatabaseUnavailableError("it is away"), StorageRefusedError("it is read-only")])
def test_a_heartbeat_that_is_refused_is_followed_by_the_next(fault):
    ledger = FaultyLedger(fault)
    with hold_claims(ledger, "r-1", lease_s=0.03):
        assert ledger.renewed.wait(30)
    assert ledger.released == ["r-1"]
