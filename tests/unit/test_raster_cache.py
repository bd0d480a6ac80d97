"""GDAL's block cache: one for the process, bounded while anyone reads, whatever the order they come and go in."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from rasterio._env import get_gdal_config

from services.core.raster.cache import block_cache

MIB = 2**20


def size_bytes() -> int:
    return int(get_gdal_config("GDAL_CACHEMAX"))


def test_block_cache_holds_for_the_process_and_is_given_back() -> None:
    before = size_bytes()
    with block_cache(48 * MIB):
        assert size_bytes() == 48 * MIB
    assert size_bytes() == before


@pytest.mark.parametrize(("first", "then", "left"), [(128, 16, 16), (16, 128, 128)])
def test_a_thread_that_leaves_does_not_take_the_others_bound_along(first: int, then: int, left: int) -> None:
    before = size_bytes()
    with ThreadPoolExecutor(1) as tiler, ThreadPoolExecutor(1) as run:
        outer, inner = block_cache(first * MIB), block_cache(then * MIB)
        seen = []
        for thread, step in ((tiler, outer.__enter__), (run, inner.__enter__)):
            thread.submit(step).result()
            seen.append(size_bytes())
        for thread, cache in ((tiler, outer), (run, inner)):
            thread.submit(cache.__exit__, None, None, None).result()
            seen.append(size_bytes())
    assert seen == [first * MIB, 128 * MIB, left * MIB, before]
