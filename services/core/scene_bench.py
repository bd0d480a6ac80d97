"""What a thread lends a flow's operators: pixels of one scene, and a network. Batch, training and verify share it."""

from collections.abc import Sequence

import numpy as np

from services.core.errors import UnanswerableError
from services.core.flow.tile import Pixels, Valid
from services.core.grid import Window
from services.core.model.backends import Backend
from services.core.raster.read import OpenAsset, SceneReader
from services.core.records import Band, Scene
from services.core.storage.files import forget_digests


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
        self._assets = scene.assets_of(bands)
        self._open_asset = open_asset
        self._as_ingested = False
        self._bands = tuple(band.name for band in bands)
        self._backend = backend

    def read(self, bands: tuple[str, ...], window: Window) -> tuple[Pixels, Valid | None]:
        """Stored numbers of a window."""
        assert bands == self._bands, "a bench reads one set of bands"
        return self._reader.read(window)

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

    def check_files(self) -> None:
        """Prove that what GDAL calls damage is in the bytes that were ingested, and not between them and us.

        A disk that fails for an hour, a file replaced meanwhile and a process out of file handles look all the same to
        GDAL. The files are read once for it.

        Raises:
            RetryableError: They cannot be read now.
            ObjectNotFoundError: They are not what was ingested.
        """
        if not self._as_ingested:
            self._reader.close()
            forget_digests()
            self.check_unchanged()
            self._as_ingested = True

    def check_unchanged(self) -> None:
        """Look whether the files still are those that were ingested; one is read again only if something touched it.

        Raises:
            ObjectNotFoundError: One is not.
        """
        if self._open_asset is not None:
            for asset in self._assets:
                self._open_asset(asset)

    def close(self) -> None:
        """Close the scene's files."""
        self._reader.close()
