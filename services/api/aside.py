"""Threads for what would hold up the event loop; one that hangs holds up neither the others nor the end."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from services.api.refusals import BusyError

_Answer = TypeVar("_Answer")


class Aside:
    """A few places, each for one thread at a time.

    The threads are daemons: the standard library's pools are waited for when the process ends, for ever if need be.
    """

    def __init__(self, places: int, *, patience_s: float, busy: str) -> None:
        """`patience_s` is how long to wait for a place, and `busy` what is said when none became free."""
        self._places = asyncio.Semaphore(places)
        self._patience_s = patience_s
        self._busy = busy

    @asynccontextmanager
    async def place(self) -> AsyncIterator["Place"]:
        """A place for several pieces of work, and for what they leave in memory between them.

        Raises:
            BusyError: None became free.
        """
        try:
            async with asyncio.timeout(self._patience_s):
                await self._places.acquire()
        except TimeoutError as exc:
            raise BusyError(self._busy) from exc
        place = Place(self._places, self._busy)
        try:
            yield place
        finally:
            place.leave()

    async def run(self, work: Callable[[], _Answer]) -> _Answer:
        """Call `work` on a thread; what it raises is raised here.

        Raises:
            BusyError: No place became free, or no thread can be had.
        """
        async with self.place() as place:
            return await place.run(work)


class Place:
    """Is taken for as long as somebody holds it or its thread works, even when nobody waits for that any more."""

    def __init__(self, places: asyncio.Semaphore, busy: str) -> None:
        self._places = places
        self._busy = busy
        self._users = 1

    def leave(self) -> None:
        """The last one who does gives it back."""
        self._users -= 1
        if not self._users:
            self._places.release()

    async def run(self, work: Callable[[], _Answer]) -> _Answer:
        """Call `work` on a thread; what it raises is raised here.

        Raises:
            BusyError: No thread can be had.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_Answer] = loop.create_future()

        def settle(made: _Answer | None, error: BaseException | None) -> None:
            self.leave()
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

        try:
            threading.Thread(target=call, name="aside", daemon=True).start()
        except RuntimeError as exc:  # as many as this machine allows
            raise BusyError(self._busy) from exc
        self._users += 1
        return await answer
