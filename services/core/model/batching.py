"""Batches of one fixed size, and cores kept busy by independent one-thread calls.

Why: a library may pick another kernel, and so other last digits, for another batch size. With the size fixed by the
chip alone, and a chip's answer the same at every place in the batch (tests prove it bit for bit), a map does not
depend on how work was grouped. Independent one-thread calls beat one many-thread call (numbers in docs/models.md).
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from services.core.errors import ContractError, PackageError
from services.core.model.contract import Contract

Chips = NDArray[np.float32]  #: (N, C, h, w), normalised
Probabilities = NDArray[np.float32]  #: (N, K) or (N, K, h, w)

#: One call should hold about this many pixels of a band: below, the calls themselves cost; above, caches overflow.
_CALL_PX = 2**15

#: Held for a library's first call. OpenVINO 2026.4's binding hangs for good if two threads make their first calls at
#: once: one holds the GIL and waits for a C++ guard (pybind11's numpy API, imported on first use), whose owner waits
#: for the GIL. After one call there is nothing left to race for.
_FIRST_CALL = threading.Lock()


def batch_size(chip_px: int) -> int:
    """Chips per call, from the chip's size alone: 8 at 64 px, 2 at 128 px, 1 at 256 px."""
    return max(1, min(8, _CALL_PX // chip_px**2))


class FixedBatches:
    """Cuts any number of chips into calls of one shape and runs `threads` of them at a time."""

    def __init__(self, contract: Contract, *, threads: int, run: Callable[[Chips], Probabilities]) -> None:
        """Makes the first call, so that a network which breaks its contract is refused before any work.

        Args:
            contract: What the network promises.
            threads: Calls at a time.
            run: Answers a batch of exactly `batch_size` chips; safe to call from that many threads.

        Raises:
            PackageError: The network's answer has another shape than its contract says.
        """
        self._contract = contract
        self._run = run
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="predict")
        px = contract.chip_px
        with _FIRST_CALL:
            self._checked(np.zeros((batch_size(px), len(contract.bands), px, px), np.float32))

    def predict(self, chips: Chips) -> Probabilities:
        """(N, C, h, w) -> (N, K) or (N, K, h, w).

        Raises:
            ContractError: Not chips of this model.
        """
        self._check(chips)
        count, px = len(chips), self._contract.chip_px
        size = batch_size(px)
        answers = np.empty((count, *self._answer_shape()), np.float32)

        def fill(start: int) -> None:
            part = chips[start : start + size]
            batch = np.zeros((size, *chips.shape[1:]), np.float32)  # whole and contiguous, whatever the caller's was
            batch[: len(part)] = part
            answer = self._checked(batch)
            answers[start : start + size] = answer[: count - start]

        if count <= size:
            fill(0)  # here: nothing would run beside it, and another thread is a way there and back
        else:
            list(self._pool.map(fill, range(0, count, size)))  # the list raises what a call raised
        return answers

    def _answer_shape(self) -> tuple[int, ...]:
        """One chip's answer: (K,) or (K, h, w)."""
        contract = self._contract
        tail = (contract.chip_px, contract.chip_px) if contract.kind == "segmentation" else ()
        return len(contract.classes), *tail

    def _checked(self, batch: Chips) -> Probabilities:
        answer = self._run(batch)
        if answer.shape != (len(batch), *self._answer_shape()):
            raise PackageError(
                f"the network of model {self._contract.name} answers {answer.shape} to chips {batch.shape}, "
                "which is not what its contract says"
            )
        return answer

    def _check(self, chips: Chips) -> None:
        contract = self._contract
        wanted = (len(contract.bands), contract.chip_px, contract.chip_px)
        if chips.ndim != 4 or chips.shape[1:] != wanted or chips.dtype != np.float32:
            raise ContractError(
                f"model {contract.name} takes float32 chips {('N', *wanted)}, not {chips.dtype} {chips.shape}"
            )
