"""Threads for what would hold up the event loop; one that hangs holds up neither the others nor the end."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from services.api.refusals import BusyError

_Answer = TypeVar("_Answer")


class Aside:
    """A few places. One is taken for as long as its thread works, even when nobody waits for the answer any more.

    The threads are daemons: the standard library's pools are waited for when the process ends, for ever if need be.
    """

    def __init__(self, places: int, *, patience_s: float) -> None:
        """`patience_s` is how long to wait for a place."""
        self._places = asyncio.Semaphore(places)
        self._patience_s = patience_s

    async def run(self, work: Callable[[], _Answer]) -> _Answer:
        """Call `work` on a thread; what it raises is raised here.

        Raises:
            BusyError: No place became free.
        """
        try:
            async with asyncio.timeout(self._patience_s):
                await self._places.acquire()
        except TimeoutError as exc:
            raise BusyError("images that take long to read keep this service busy; send it again in a moment") from exc
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_Answer] = loop.create_future()

        def settle(made: _Answer | None, error: BaseException | None) -> None:
            self._places.release()
            if answer.done():  # nobody waits for it any more
                return
            if error is None:
                answer.set_result(made)  # type: ignore[arg-type]  # None only where `work` gives None
            else:
                answer.set_exception(error)

        def call() -> None:
            made, error = None, None
            try:
                made = work()
            except BaseException as exc:  # noqa: BLE001  # it belongs to whoever waits
                error = exc
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(settle, made, error)

        threading.Thread(target=call, name="aside", daemon=True).start()
        return await answer
