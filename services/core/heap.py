"""Give back memory that was freed: glibc keeps it for the thread that had it, and the next phase has other threads."""

from collections.abc import Callable

import psutil


def trim_heap() -> None:
    """Hand free pages of the heap back to the system, where the C library can; some milliseconds."""
    trim: Callable[[], None] | None = getattr(psutil, "heap_trim", None)  # lacking with musl
    if trim is not None:
        trim()
