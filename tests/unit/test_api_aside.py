"""Work beside the event loop: a place is taken while its thread works, and nobody waits for ever."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from services.api.aside import Aside
from services.api.refusals import BusyError

ROOT = Path(__file__).resolve().parents[2]


def aside_of(places: int, *, patience_s: float = 60) -> Aside:
    return Aside(places, patience_s=patience_s, busy="send it again")


def test_what_a_thread_makes_or_raises_comes_back() -> None:
    async def ask() -> int:
        aside = aside_of(1)
        with pytest.raises(ZeroDivisionError):
            await aside.run(lambda: 1 // 0)
        return await aside.run(lambda: 7)

    assert asyncio.run(ask()) == 7


def test_a_thread_that_nobody_waits_for_keeps_its_place_until_it_ends() -> None:
    async def ask() -> int:
        aside, held = aside_of(1, patience_s=0.05), threading.Event()
        given_up = asyncio.ensure_future(aside.run(held.wait))
        await asyncio.sleep(0.01)
        given_up.cancel()
        with pytest.raises(BusyError, match="send it again"):
            await aside.run(lambda: 7)
        held.set()
        patient = aside_of(1)
        assert await patient.run(lambda: 8) == 8
        while True:  # until the loop has heard of the end
            try:
                return await aside.run(lambda: 7)
            except BusyError:
                continue

    assert asyncio.run(ask()) == 7


def test_a_place_is_held_between_pieces_of_work() -> None:
    async def ask() -> int:
        aside = aside_of(1, patience_s=0.05)
        async with aside.place() as place:
            first = await place.run(lambda: 3)
            with pytest.raises(BusyError):
                await aside.run(lambda: 7)
            second = await place.run(lambda: 4)
        return first + second + await aside.run(lambda: 7)

    assert asyncio.run(ask()) == 14


def test_a_thread_that_cannot_be_had_costs_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def ask() -> int:
        aside = aside_of(1)
        with monkeypatch.context() as full:
            full.setattr(threading.Thread, "start", refuse)
            with pytest.raises(BusyError):
                await aside.run(lambda: 7)
        return await asyncio.wait_for(aside.run(lambda: 7), 5)

    assert asyncio.run(ask()) == 7


def test_a_thread_that_hangs_does_not_hold_up_the_end_of_the_process() -> None:
    program = """if True:
        import asyncio, threading
        from services.api.aside import Aside
        async def main():
            hanging = asyncio.ensure_future(Aside(1, patience_s=1, busy='').run(threading.Event().wait))
            await asyncio.sleep(0.05)
        asyncio.run(main())
        print("the end")
    """
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT, check=False
    )
    assert (done.stdout, done.returncode) == ("the end\n", 0), done.stderr
