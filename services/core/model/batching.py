"""Batches of a fixed size, single chips where that gives the same answer, and cores kept busy by one-thread calls.

Why: a library may pick another kernel, and so other last digits, for another batch size. With the size fixed by the
network's contract, and a chip's answer the same at every place in the batch, a map does not depend on how work was
grouped. The places are tried when a network is opened: where sums inside it begin at an address that vectors do not,
they are added in another order, and then every chip goes by itself for good. A lone chip in a batch of 8 costs as much
as 8, so where the library answers it bit for bit alike by itself, which is tried on noise, it goes by itself.
Independent one-thread calls beat one many-thread call (numbers in docs/models.md).

Where the contract asks for it, a doubtful chip is looked at again from all sides. That too depends on nothing but the
chip.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from services.core.aligned import empty_aligned, is_aligned
from services.core.errors import ContractError, PackageError
from services.core.model.contract import Contract
from services.core.model.views import all_views

Chips = NDArray[np.float32]  #: (N, C, h, w), normalised
Probabilities = NDArray[np.float32]  #: (N, K) or (N, K, h, w)

#: A call's most pixels of a band, and its most chips. Below, weights are read anew for too few pixels; above, caches
#: overflow, which a segmentation does first, because its last layers are as wide as its chips.
_CALL_PX = {"classification": 2**19, "segmentation": 2**15}
_CALL_CHIPS = 8
#: From this side on a chip costs alone what it costs in a batch, give or take 4 % (docs/models.md, "Threads").
_ALONE_PX = 128

#: Held for a library's first calls. OpenVINO 2026.4's binding hangs for good if two threads make their first calls at
#: once: one holds the GIL and waits for a C++ guard (pybind11's numpy API, imported on first use), whose owner waits
#: for the GIL. After one call there is nothing left to race for.
_FIRST_CALL = threading.Lock()


def batch_size(contract: Contract) -> int:
    """Chips per call, from the contract alone: of a classification 8 up to 256 px."""
    return max(1, min(_CALL_CHIPS, _CALL_PX[contract.kind] // contract.chip_px**2))


class FixedBatches:
    """Cuts any number of chips into calls of one shape, or of single chips, and runs `threads` of them at a time."""

    def __init__(
        self, contract: Contract, *, threads: int, run: Callable[[Chips], Probabilities], singly: bool = True
    ) -> None:
        """Makes the first calls, so that a network which breaks its contract is refused before any work.

        Args:
            contract: What the network promises.
            threads: Calls at a time.
            run: Answers a batch of `batch_size` chips, or of one; safe to call from that many threads.
            singly: Whether single chips are worth a trial. PyTorch answers some of them alike and others not.

        Raises:
            PackageError: The network's answer has another shape than its contract says.
        """
        self._contract = contract
        self._run = run
        self._size = batch_size(contract)  # 1 for good where places in a batch turn out to matter
        self._threads = threads
        self._may_go_singly = singly
        self._lock, self._callers = threading.Lock(), 0
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="predict")
        noise = np.random.default_rng(0).standard_normal((self._size, *self._chip_shape()), np.float32)
        with _FIRST_CALL:
            answers = self._settle_size(noise)
        #: Whether single chips are answered as in a batch. Found out beside the first work, which need not wait for it:
        #: the answers are the same before and after.
        self.trial = self._pool.submit(self._answers_singly, noise, answers)

    def predict(self, chips: Chips) -> Probabilities:
        """(N, C, h, w) -> (N, K) or (N, K, h, w).

        Raises:
            ContractError: Not chips of this model.
        """
        if chips.ndim != 4 or chips.shape[1:] != self._chip_shape() or chips.dtype != np.float32:
            raise ContractError(
                f"model {self._contract.name} takes float32 chips {('N', *self._chip_shape())}, "
                f"not {chips.dtype} {chips.shape}"
            )
        answers = np.empty((len(chips), *self._answer_shape()), np.float32)

        def fill(part: slice) -> None:
            answers[part] = self._answer(chips[part])

        def look_again(at: int) -> None:
            answers[at] = self._from_all_sides(chips[at], answers[at])

        with self._calling() as callers:
            parts = self._parts(len(chips), idle=self._threads - callers)
            # Where callers keep all cores busy, or nothing would run beside it, another thread is a way there and back.
            spread = map if len(parts) == 1 or callers >= self._threads else self._pool.map
            list(spread(fill, parts))  # the list raises what a call raised
            list(spread(look_again, self._doubtful(answers)))
        return answers

    def _doubtful(self, answers: Probabilities) -> list[int]:
        """Which of the chips are to be looked at again."""
        least = self._contract.second_look
        return [] if least is None else np.flatnonzero(answers.max(axis=1) < least).tolist()

    def _from_all_sides(self, chip: NDArray[np.float32], first: Probabilities) -> Probabilities:
        """(C, n, n) and its answer as it lies -> (K,), the mean over all eight views, always added in one order."""
        others, total = all_views(chip)[1:], first
        for part in self._parts(len(others)):
            for answer in self._answer(others[part]):
                total = total + answer
        return total / np.float32(len(others) + 1)

    @contextmanager
    def _calling(self) -> Iterator[int]:
        """How many threads are in `predict` now, this one included."""
        with self._lock:
            self._callers += 1
            callers = self._callers
        try:
            yield callers
        finally:
            with self._lock:
                self._callers -= 1

    def _parts(self, count: int, *, idle: int = 0) -> list[slice]:
        """One for each call: whole batches, then what is left, chip by chip while that is cheaper than a batch.

        Chips that are as cheap alone go alone too where `idle` threads would find no batch to work on.
        """
        cheap, whole = self._contract.chip_px >= _ALONE_PX, count - count % self._size
        if cheap and whole // self._size <= idle:
            whole = 0
        parts = [slice(start, start + self._size) for start in range(0, whole, self._size)]
        few = cheap or count - whole <= self._size // 2
        step = 1 if self._singly() and few else self._size
        return parts + [slice(start, min(start + step, count)) for start in range(whole, count, step)]

    def _answer(self, chips: Chips) -> Probabilities:
        """Of at most a batch of chips."""
        return self._asked(chips, 1 if len(chips) == 1 and self._singly() else self._size)

    def _asked(self, chips: Chips, size: int) -> Probabilities:
        """Of chips in one call of this size, which is filled up with zeros."""
        # Whole and always in the same place: fresh megabytes would be mapped and cleared for every call.
        if not hasattr(self._local, "batch"):
            self._local.batch = empty_aligned((self._size, *self._chip_shape()))
        batch: Chips = self._local.batch[:size]
        # Strides tell more than numpy's flag, which calls a reversed array of one chip contiguous.
        if len(chips) == size and chips.strides == batch.strides and chips.flags.carray and is_aligned(chips):
            return self._checked(chips)
        batch[: len(chips)] = chips
        batch[len(chips) :] = 0
        return self._checked(batch)[: len(chips)]

    def _singly(self) -> bool:
        return self.trial.done() and self.trial.result()

    def _settle_size(self, noise: Chips) -> Probabilities:
        """Whole batches, or for good single chips if their place shows in their answers; what the noise is answered."""
        answers = self._asked(noise, self._size)
        if self._size == 1:
            return answers
        if not all(self._same_rolled(noise, answers, places) for places in self._rolls()):
            self._size = 1
            del self._local.batch
            self._asked(noise[:1], 1)  # a graph that takes whole batches only has no size left, and is refused here
        return answers

    def _rolls(self) -> Sequence[int]:
        """By how many places to move the noise: every chip to every place, where chips are small enough to be cheap."""
        return range(1, self._size) if self._contract.chip_px < _ALONE_PX else (max(1, self._size // 2 - 1),)

    def _same_rolled(self, noise: Chips, answers: Probabilities, places: int) -> bool:
        rolled = self._asked(np.roll(noise, places, axis=0), self._size)
        return np.array_equal(np.roll(answers, places, axis=0), rolled, equal_nan=True)

    def _answers_singly(self, noise: Chips, together: Probabilities) -> bool:
        if self._size == 1:
            return True
        if not self._may_go_singly:
            return False
        try:
            alone = [self._asked(chip[None], 1)[0] for chip in noise]
        except PackageError:  # a graph that takes whole batches only
            return False
        return np.array_equal(np.stack(alone), together)

    def _chip_shape(self) -> tuple[int, int, int]:
        """(C, h, w)."""
        return len(self._contract.bands), self._contract.chip_px, self._contract.chip_px

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
