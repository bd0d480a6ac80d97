"""What a thread lends a flow's operators: pixels of one scene, and a network. Batch, training and verify share it."""

from collections.abc import Sequence

from services.core.flow.tile import Pixels, Valid
from services.core.grid import Window
from services.core.model.backends import Backend
from services.core.raster.read import OpenAsset, SceneReader
from services.core.records import Band, Scene


class SceneBench:
    """One thread's reader of one scene, and the network that all threads share. See `services.core.flow.tile.Bench`."""

    def __init__(
        self,
        scene: Scene,
        bands: Sequence[Band],
        backend: Backend | None = None,
        *,
        open_asset: OpenAsset | None = None,
    ) -> None:
        self._reader = SceneReader(scene, bands, open_asset=open_asset)
        self._bands = tuple(band.name for band in bands)
        self._backend = backend

    def read(self, bands: tuple[str, ...], window: Window) -> tuple[Pixels, Valid | None]:
        """Stored numbers of a window."""
        assert bands == self._bands, "a bench reads one set of bands"
        return self._reader.read(window)

    def predict(self, model: str, chips: Pixels) -> Pixels:
        """Probabilities of normalised chips."""
        assert self._backend is not None, f"model {model[:12]} was planned without a backend"
        return self._backend.predict(chips)

    def close(self) -> None:
        """Close the scene's files."""
        self._reader.close()
