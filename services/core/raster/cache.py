"""GDAL's cache of decoded blocks, which is one for the process, whoever reads in it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rasterio._env import get_gdal_config, set_gdal_config  # no public names

from services.core.raster.gdal import gdal_settings

_SIZE = "GDAL_CACHEMAX"


class _Shared:
    """What each thread that is inside asked for. `rasterio.Env` would set it back when the first of them leaves."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: list[int] = []
        self._before = 0

    def enter(self, size_bytes: int) -> None:
        with self._lock:
            if not self._asked:
                self._before = get_gdal_config(_SIZE)
            self._asked.append(size_bytes)
            set_gdal_config(_SIZE, max(self._asked))

    def leave(self, size_bytes: int) -> None:
        with self._lock:
            self._asked.remove(size_bytes)
            set_gdal_config(_SIZE, max(self._asked, default=self._before))


_SHARED = _Shared()


@contextmanager
def block_cache(size_bytes: int) -> Iterator[None]:
    """Let GDAL keep at most this many bytes of decoded blocks, in the whole process, while inside.

    Enter it once, in the thread that starts the others. Where several such are inside, as when one scene is tiled while
    another is mapped, the most that any asked for holds; what was there before comes back with the last that leaves.
    """
    with gdal_settings():
        _SHARED.enter(size_bytes)
        try:
            yield
        finally:
            _SHARED.leave(size_bytes)
