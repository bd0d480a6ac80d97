"""What training lends the flow's operators, so that it sees pixels and answers as a batch run does."""

from collections.abc import Sequence

from services.core.flow.tile import Pixels, Valid
from services.core.grid import Window
from services.core.model.backends import Backend
from services.core.raster.read import SceneReader
from services.core.records import Band, Scene


class SceneBench:
    """One scene's reader and, where a flow predicts, one network. See `services.core.flow.tile.Bench`."""

    def __init__(self, scene: Scene, bands: Sequence[Band], backend: Backend | None = None) -> None:
        self._reader = SceneReader(scene, bands)
        self._backend = backend

    def read(self, bands: tuple[str, ...], window: Window) -> tuple[Pixels, Valid | None]:
        """Stored numbers of a window."""
        assert bands == tuple(band.name for band in self._reader.bands), "a bench reads one set of bands"
        return self._reader.read(window)

    def predict(self, model: str, chips: Pixels) -> Pixels:
        """Probabilities of normalised chips."""
        assert self._backend is not None, f"model {model[:12]} needs a backend"
        return self._backend.predict(chips)

    def close(self) -> None:
        """Close the scene's files."""
        self._reader.close()
