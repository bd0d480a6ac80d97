"""SIGTERM and Ctrl-C as an event: workers finish their unit, give their claims back, and the process exits 75."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stop_on_signals(event: threading.Event | None = None) -> Iterator[threading.Event]:
    """Set the event on the first signal. A second Ctrl-C ends the process at once; the ledger survives that too.

    A Python that is PID 1 of a container ignores SIGTERM unless somebody installs a handler, as here. Only the main
    thread may: in another one the event is nobody's to set.
    """
    stop = threading.Event() if event is None else event
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {int(number): signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def on_signal(number: int, _frame: object) -> None:
        stop.set()
        signal.signal(number, previous[number])

    for number in previous:
        signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
