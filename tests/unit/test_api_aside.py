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


def test_what_a_thread_makes_or_raises_comes_back() -> None:
    async def ask() -> int:
        aside = Aside(1, patience_s=60)
        with pytest.raises(ZeroDivisionError):
            await aside.run(lambda: 1 // 0)
        return await aside.run(lambda: 7)

    assert asyncio.run(ask()) == 7


def test_a_thread_that_nobody_waits_for_keeps_its_place_until_it_ends() -> None:
    async def ask() -> int:
        aside, held = Aside(1, patience_s=0.05), threading.Event()
        given_up = asyncio.ensure_future(aside.run(held.wait))
        await asyncio.sleep(0.01)
        given_up.cancel()
        with pytest.raises(BusyError, match="send it again"):
            await aside.run(lambda: 7)
        held.set()
        patient = Aside(1, patience_s=60)
        assert await patient.run(lambda: 8) == 8
        while True:  # until the loop has heard of the end
            try:
                return await aside.run(lambda: 7)
            except BusyError:
                continue

    assert asyncio.run(ask()) == 7


def test_a_thread_that_hangs_does_not_hold_up_the_end_of_the_process() -> None:
    program = """if True:
        import asyncio, threading
        from services.api.aside import Aside
        async def main():
            hanging = asyncio.ensure_future(Aside(1, patience_s=1).run(threading.Event().wait))
            await asyncio.sleep(0.05)
        asyncio.run(main())
        print("the end")
    """
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT, check=False
    )
    assert (done.stdout, done.returncode) == ("the end\n", 0), done.stderr
