"""Child: bare rasterio reading 256 px windows, block after block, one handle per thread: the limit of decoding."""

import itertools
import os
import statistics
import threading
import time

import rasterio
from rasterio.windows import Window

from tests.bench.process import answer, told

TILE_PX = 256
#: Over the whole scene, with the best cache.
PASSES = 3


def main() -> None:
    wish = told()
    threads = len(os.sched_getaffinity(0))
    found = {cache_mb: _rate(wish["scene"], threads, cache_mb) for cache_mb in wish["caches_mb"]}
    cache_mb = max(found, key=found.__getitem__)
    rates = [_rate(wish["scene"], threads, cache_mb) for _ in range(PASSES)]
    answer(tiles_per_s=statistics.mean(rates), setting=f"{threads} threads, cache {cache_mb} MB")


def _rate(path: str, threads: int, cache_mb: int) -> float:
    with rasterio.Env(GDAL_CACHEMAX=cache_mb, GDAL_NUM_THREADS="1"):
        return _tiles_per_s(path, threads)


def _tiles_per_s(path: str, threads: int) -> float:
    with rasterio.open(path) as source:
        (block, _), (height, width) = source.block_shapes[0], source.shape
    bands = iter(range(0, height, block))
    counts = itertools.count()

    def read() -> None:
        with rasterio.open(path, sharing=False) as source:
            for top in bands:  # next() of a range iterator is atomic: each row of blocks goes to one thread
                for row, col in _tiles(top, min(top + block, height), width, block):
                    window = Window(col, row, min(TILE_PX, width - col), min(TILE_PX, height - row))
                    source.read(window=window)
                    next(counts)

    workers = [threading.Thread(target=read) for _ in range(threads)]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return next(counts) / (time.perf_counter() - started)


def _tiles(top: int, bottom: int, width: int, block: int) -> list[tuple[int, int]]:
    """(row, col) of the tiles of one row of blocks, all of a block before the next."""
    return [
        (row, col)
        for left in range(0, width, block)
        for row in range(top, bottom, TILE_PX)
        for col in range(left, min(left + block, width), TILE_PX)
    ]


if __name__ == "__main__":
    main()
