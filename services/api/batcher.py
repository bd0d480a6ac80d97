"""Micro-batching: chips of many requests go to the network together, as soon as it is free and never later.

There is no waiting for a batch to fill: an idle network takes a single chip at once, and while it computes, others
gather. Whom a chip is computed beside does not change its answer, because backends work in batches of one fixed size
(services/core/model/batching.py).
"""

import asyncio
import math
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.api.metrics import Metrics
from services.api.refusals import OverloadedError
from services.core.model.backends import Backend
from services.core.model.batching import Chips, Probabilities, batch_size
from services.core.model.contract import Contract

#: Weight of the newest call in the mean that waiting times are reckoned from.
_NEWEST = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """How much may wait, and how long."""

    chips: int
    wait_s: float


@dataclass(slots=True)
class _Waiting:
    chip: NDArray[np.float32]  #: (C, h, w)
    answer: "asyncio.Future[Probabilities]"  #: (K,)
    leave_at_s: float  #: on the loop's clock; later, nobody waits for it


class Batcher:
    """One network's queue. Used from the event loop only; the network runs on `threads` threads of its own."""

    def __init__(
        self, backend: Backend, contract: Contract, *, threads: int, limits: QueueLimits, metrics: Metrics
    ) -> None:
        self._backend = backend
        self._limits = limits
        self._metrics = metrics
        self._size = batch_size(contract)
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="network")
        self._free = self._slots = threads
        self._queue: deque[_Waiting] = deque()
        self._call_s = 0.005
        self._calls: set[asyncio.Future[Any]] = set()

    def check(self, chips: int = 1) -> None:
        """Whether so many chips would be answered in time; cheap, so that it comes before an image is decoded.

        Raises:
            OverloadedError: They would not; says after how many milliseconds they might.
        """
        waiting = len(self._queue)
        if not waiting:
            return  # always: one call that hung long ago must not turn everybody away for ever
        wait_s = self._wait_s(waiting + chips)
        if waiting + chips > self._limits.chips or wait_s > self._limits.wait_s:
            self._metrics.turned_away.inc()
            wait_ms = max(1, math.ceil(self._wait_s(max(waiting, chips)) * 1000))
            raise OverloadedError(
                f"{waiting} chips wait for the network already; ask again in {wait_ms} ms", retry_after_ms=wait_ms
            )

    async def predict(self, chips: Chips) -> Probabilities:
        """Probabilities of normalised chips: (N, C, h, w) -> (N, K), equal to the network's own whatever runs beside.

        Raises:
            OverloadedError: The queue is full, or they waited too long.
            SwathError: From the network.
        """
        self.check(len(chips))
        loop = asyncio.get_running_loop()
        leave_at_s = loop.time() + self._limits.wait_s
        waiting = [_Waiting(chip, loop.create_future(), leave_at_s) for chip in chips]
        self._queue.extend(waiting)
        self._start_calls()
        try:
            answers = [await each.answer for each in waiting]
        finally:
            for each in waiting:  # of a request that has failed or gone away
                if not each.answer.cancel() and not each.answer.cancelled():
                    each.answer.exception()  # looked at, or asyncio complains
        return np.stack(answers)

    def _wait_s(self, chips: int) -> float:
        """How long until so many chips were answered, if calls go on as they went."""
        calls = -(-chips // self._size)
        return -(-calls // self._slots) * self._call_s

    def _start_calls(self) -> None:
        while self._free and self._queue:
            batch = self._take_batch()
            if not batch:
                break
            self._free -= 1
            call = asyncio.get_running_loop().run_in_executor(
                self._threads, self._run, np.stack([each.chip for each in batch])
            )
            self._calls.add(call)
            call.add_done_callback(partial(self._finish_call, batch))
        self._metrics.queued.set(len(self._queue))

    def _take_batch(self) -> list[_Waiting]:
        """The chips that waited longest; those that nobody waits for any more are dropped on the way."""
        now = asyncio.get_running_loop().time()
        batch: list[_Waiting] = []
        while self._queue and len(batch) < self._size:
            each = self._queue.popleft()
            if each.answer.done():
                continue
            if each.leave_at_s < now:
                self._metrics.turned_away.inc()
                each.answer.set_exception(
                    OverloadedError(
                        "the network did not come to this image in time; ask again",
                        retry_after_ms=max(1, math.ceil(self._wait_s(len(self._queue) + 1) * 1000)),
                    )
                )
                continue
            batch.append(each)
        return batch

    def _run(self, chips: Chips) -> tuple[Probabilities, float]:
        began = time.perf_counter()
        answers = self._backend.predict(chips)
        return answers, time.perf_counter() - began

    def _finish_call(self, batch: list[_Waiting], call: "asyncio.Future[tuple[Probabilities, float]]") -> None:
        self._calls.discard(call)
        self._free += 1
        error = call.exception()
        if error is None:
            answers, seconds = call.result()
            self._call_s += _NEWEST * (seconds - self._call_s)
            self._metrics.batch_size.observe(len(batch))
            self._metrics.call_s.observe(seconds)
        for row, each in enumerate(batch):
            if each.answer.done():
                continue
            if error is None:
                each.answer.set_result(answers[row])
            else:
                each.answer.set_exception(error)
        self._start_calls()
