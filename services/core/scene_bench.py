"""What a thread lends a flow's operators: pixels of one scene, and a network. Batch, training and verify share it."""

from collections.abc import Sequence

import numpy as np

from services.core.errors import UnanswerableError
from services.core.flow.tile import Pixels, Valid
from services.core.grid import Window
from services.core.model.backends import Backend
from services.core.proven_reader import ProvenReader
from services.core.raster.read import OpenAsset
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
        self.reader = ProvenReader(scene, bands, open_asset=open_asset)
        self._bands = tuple(band.name for band in bands)
        self._backend = backend

    def read(self, bands: tuple[str, ...], window: Window) -> tuple[Pixels, Valid | None]:
        """Stored numbers of a window."""
        assert bands == self._bands, "a bench reads one set of bands"
        return self.reader.read(window)

    def predict(self, model: str, chips: Pixels) -> Pixels:
        """Probabilities of normalised chips.

        Raises:
            UnanswerableError: NaN or infinity is among them, as for a fill value that nobody declared.
        """
        assert self._backend is not None, f"model {model[:12]} was planned without a backend"
        answers = self._backend.predict(chips)
        if not np.isfinite(answers).all():
            raise UnanswerableError(
                f"the network has no number for some pixels, which hold values of up to {np.abs(chips).max():.3g} "
                "standard deviations; declare the nodata value of the scene, e.g. with gdal_edit -a_nodata"
            )
        return answers

    def close(self) -> None:
        """Close the scene's files."""
        self.reader.close()
