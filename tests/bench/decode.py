"""Child: bare rasterio reading 256 px windows, block after block, one handle per thread: the limit of decoding."""

import itertools
import os
import threading
import time

import rasterio
from rasterio.windows import Window

from tests.bench.process import answer, told

TILE_PX = 256


def main() -> None:
    wish = told()
    threads = len(os.sched_getaffinity(0))
    found = {}
    for cache_mb in wish["caches_mb"]:
        with rasterio.Env(GDAL_CACHEMAX=cache_mb, GDAL_NUM_THREADS="1"):
            found[cache_mb] = _rate(wish["scene"], threads)
    setting = max(found, key=found.__getitem__)
    answer(tiles_per_s=found[setting], setting=f"{threads} threads, cache {setting} MB")


def _rate(path: str, threads: int) -> float:
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
