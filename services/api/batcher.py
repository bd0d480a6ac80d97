"""Micro-batching: chips of many requests go to the network together, as soon as it is free and never later.

There is no waiting for a batch to fill: an idle network takes a single chip at once, and while it computes, others
gather. Whom a chip is computed beside does not change its answer, because backends work in batches of one fixed size
(services/core/model/batching.py).
"""

import asyncio
import math
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue

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
    leave_at_s: float  #: on the monotonic clock; later, nobody waits for it


class Batcher:
    """One network's queue. Used from the event loop; the network runs on `threads` threads of its own.

    They are begun here, so that none can be lacking later; they are daemons, and end with the batcher.
    """

    def __init__(
        self, backend: Backend, contract: Contract, *, threads: int, limits: QueueLimits, metrics: Metrics
    ) -> None:
        self._backend = backend
        self._limits = limits
        self._metrics = metrics
        self._size = batch_size(contract)
        self._calls = SimpleQueue[Callable[[], None] | None]()
        weakref.finalize(self, _dismiss, self._calls, threads)
        for _ in range(threads):
            threading.Thread(target=_work, args=(self._calls,), name="network", daemon=True).start()
        self._free = self._slots = threads
        self._queue: deque[_Waiting] = deque()
        self._call_s = 0.005
        #: Held to look at the queue or at who is free: a thread that finds nothing to do must not miss what comes then.
        self._lock = threading.Lock()

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
        leave_at_s = time.monotonic() + self._limits.wait_s
        waiting = [_Waiting(chip, loop.create_future(), leave_at_s) for chip in chips]
        with self._lock:
            self._queue.extend(waiting)
        self._start_calls()
        try:
            answers = [await each.answer for each in waiting]
        except OverloadedError:
            self._metrics.turned_away.inc()  # once, however many of its chips were late
            raise
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
        """Give each free thread its first batch; its next ones it takes itself."""
        while True:
            with self._lock:
                batch, late = self._take_batch() if self._free else ([], [])
                self._free -= bool(batch)
            self._turn_away(late)
            if not batch:
                break
            self._calls.put(partial(self._serve, batch))
        self._metrics.queued.set(len(self._queue))

    def _take_batch(self) -> tuple[list[_Waiting], list[_Waiting]]:
        """The chips that waited longest, and those that waited too long; to be called with the lock.

        Those that nobody waits for any more are dropped on the way.
        """
        now, batch, late = time.monotonic(), list[_Waiting](), list[_Waiting]()
        while self._queue and len(batch) < self._size:
            each = self._queue.popleft()
            if not each.answer.done():
                (late if each.leave_at_s < now else batch).append(each)
        return batch, late

    def _serve(self, batch: list[_Waiting]) -> None:
        """On a network thread: this batch, then whatever waits, until nothing does.

        The thread does not ask the loop for its next batch: the loop has dozens of requests to read before it would
        come to that, and the core would stand idle meanwhile.
        """
        while batch:
            loop, began = batch[0].answer.get_loop(), time.perf_counter()
            answers: Probabilities | Exception
            try:
                answers = self._backend.predict(np.stack([each.chip for each in batch]))
            except Exception as exc:  # noqa: BLE001  # whatever it is, these chips' callers are told
                answers = exc
            seconds = time.perf_counter() - began
            with self._lock:
                following, late = self._take_batch()
                self._free += not following
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(self._answer, batch, answers, seconds, late)
            batch = following

    def _answer(
        self, batch: list[_Waiting], answers: Probabilities | Exception, seconds: float, late: list[_Waiting]
    ) -> None:
        if not isinstance(answers, Exception):
            self._call_s += _NEWEST * (seconds - self._call_s)
            self._metrics.batch_size.observe(len(batch))
            self._metrics.call_s.observe(seconds)
        for row, each in enumerate(batch):
            if each.answer.done():
                continue
            if isinstance(answers, Exception):
                each.answer.set_exception(answers)
            else:
                each.answer.set_result(answers[row])
        self._turn_away(late)
        self._metrics.queued.set(len(self._queue))

    def _turn_away(self, late: list[_Waiting]) -> None:
        for each in late:
            if each.answer.done():
                continue
            each.answer.set_exception(
                OverloadedError(
                    "the network did not come to this image in time; ask again",
                    retry_after_ms=max(1, math.ceil(self._wait_s(len(self._queue) + 1) * 1000)),
                )
            )


def _work(calls: SimpleQueue[Callable[[], None] | None]) -> None:
    """A network thread; between calls it knows no batcher, which may go meanwhile."""
    while (call := calls.get()) is not None:
        call()
        del call


def _dismiss(calls: SimpleQueue[Callable[[], None] | None], threads: int) -> None:
    for _ in range(threads):
        calls.put(None)
