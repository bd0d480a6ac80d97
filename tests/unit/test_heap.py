"""Freed memory goes back to the system before the next phase needs its own."""

import numpy as np
import psutil
import pytest

from services.core.heap import trim_heap

MIB = 2**20


@pytest.mark.skipif(not hasattr(psutil, "heap_trim"), reason="this C library cannot trim its heap")
def test_what_was_freed_below_something_that_lives_is_given_back() -> None:
    arrays = [np.ones(MIB // 16, np.uint8) for _ in range(16 * 64)]  # 64 MiB in pieces too small for a map of their own
    top = arrays.pop()
    arrays.clear()
    before = psutil.Process().memory_info().rss

    trim_heap()

    assert before - psutil.Process().memory_info().rss > 48 * MIB
    assert top.all()


def test_a_library_that_cannot_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(psutil, "heap_trim", raising=False)
    trim_heap()
