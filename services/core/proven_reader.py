"""Reads a scene as it was ingested, or not at all: nothing is called damage before its files were looked at again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from numpy.typing import NDArray

from services.core.errors import UnreadableSceneError
from services.core.flow.tile import Pixels, Valid
from services.core.grid import Window
from services.core.raster.read import SceneReader
from services.core.storage.files import file_state, forget_digests

_Answer = TypeVar("_Answer")


class ProvenReader(SceneReader):
    """A `SceneReader` that reads once more what GDAL calls damaged, when it has seen that the files are as ingested.

    A disk that fails for a moment or an hour, a file replaced meanwhile and a process out of file handles look all the
    same to GDAL. Besides what a `SceneReader` raises, every method raises RetryableError where the files cannot be read
    now, and ObjectNotFoundError where they are no longer what was ingested.
    """

    def read(self, window: Window) -> tuple[Pixels, Valid | None]:
        """See `SceneReader.read`."""
        return self._once_more(super().read, window)

    def read_stored(self, window: Window) -> list[NDArray[Any]]:
        """See `SceneReader.read_stored`."""
        return self._once_more(super().read_stored, window)

    def read_masked(self, window: Window) -> Valid | None:
        """See `SceneReader.read_masked`."""
        return self._once_more(super().read_masked, window)

    def fault(self, window: Window) -> str | None:
        """What is wrong with a window when it is read once, in a sentence; None: nothing."""
        try:
            super().read(window)
        except UnreadableSceneError as exc:
            return str(exc)
        return None

    def check_files(self) -> None:
        """Read the files anew, to prove that damage is in the bytes that were ingested, and not between them and us."""
        self.close()
        forget_digests()
        self.check_unchanged()

    def check_unchanged(self) -> None:
        """Look whether the files still are those that were ingested; one is read again only if something touched it."""
        if self._open_asset is not None:
            for asset in self._scene.assets_of(self.bands):
                self._open_asset(asset)

    def file_states(self) -> list[tuple[int, ...]]:
        """What differs after something has written to the files, even where it put back what was there."""
        if self._open_asset is None:
            return []
        assets = self._scene.assets_of(self.bands)
        names = [name for asset in assets for name in (self._open_asset(asset), *asset.sidecars)]
        return [file_state(Path(name)) for name in names if isinstance(name, str)]

    def _once_more(self, read: Callable[[Window], _Answer], window: Window) -> _Answer:
        try:
            return read(window)
        except UnreadableSceneError:
            self.check_files()
            return read(window)
