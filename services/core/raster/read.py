"""Pixels of a scene, window by window: stored numbers as float32, and which of them mean something."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_OutOfMemoryError  # no public name
from rasterio.windows import Window as GdalWindow

from services.core.errors import RetryableError, SwathError, UnreadableSceneError
from services.core.grid import Window
from services.core.names import public_href
from services.core.raster.asset_reads import AssetRead, coarse, plan_reads, repeat, step_of
from services.core.raster.gdal import GDAL_FAULTS, gdal_settings, open_raster, reason
from services.core.raster.valid import Valid, resolve_valid
from services.core.records import Asset, Band, Scene

Pixels = NDArray[np.float32]


class AssetFiles(Protocol):
    """Serves the files of an asset to GDAL, which loses exceptions; `RasterOpener` is one."""

    name: str  #: of the asset, to be opened by

    def __call__(self, path: str, mode: str = "rb") -> Any:
        """A readable file, or FileNotFoundError."""

    def check(self) -> None:
        """Raise the error that GDAL did not pass on, if there was one."""


OpenAsset = Callable[[Asset], str | AssetFiles]


class SceneReader:
    """Reads windows of some bands of a scene. One per thread: it owns its file handles, opened when first needed.

    Args:
        scene: What to read.
        bands: In the order wanted; may repeat.
        open_asset: Gives the local path or a readable file of an asset; None: `href` is a path.
    """

    def __init__(self, scene: Scene, bands: Sequence[Band], *, open_asset: OpenAsset | None = None) -> None:
        self.bands = tuple(bands)
        self._scene = scene
        self._open_asset = open_asset
        self._parts = plan_reads(scene, self.bands)
        self._exact = all(part.exact for part in self._parts)
        self._masks = tuple(at for at, asset in enumerate(scene.assets) if asset.mask.explicit)
        self._datasets: dict[int, Any] = {}
        self._files: dict[int, AssetFiles] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; a later read opens them again."""
        self._datasets.clear()
        self._files.clear()
        self._stack.close()

    def read(self, window: Window) -> tuple[Pixels, Valid | None]:
        """Stored numbers of a window, and which pixels are usable.

        A pixel is usable where any band read differs from its nodata, every band read is finite, and no explicit mask
        of the scene (.msk or alpha, of any of its files) hides it.

        Args:
            window: Inside the scene.

        Returns:
            (C, h, w) float32 without scale and offset, the caller's to overwrite; (h, w) True is usable, or None
            where every pixel is.

        Raises:
            UnreadableSceneError: A block is damaged; names file and window.
            ObjectNotFoundError, RetryableError: From `open_asset`.
        """
        window = self._in_files(window)
        pixels: Pixels = np.empty((len(self.bands), *window.shape), np.float32)
        # Without int64 and its like the float32 pixels still tell nodata from data, and are all that is needed.
        stored: Sequence[NDArray[Any]] | Pixels = pixels
        if self._exact:
            for part in self._parts:
                self._read_part(part, window, pixels)
        else:
            stored = self._read_stored(window)
            with np.errstate(over="ignore"):  # beyond float32 it becomes infinite, and so not usable
                for row, band in enumerate(stored):
                    pixels[row] = band
        return pixels, self._valid(stored, pixels, window)

    def read_stored(self, window: Window) -> list[NDArray[Any]]:
        """(h, w) of each band in its own dtype.

        Raises:
            UnreadableSceneError: A block is damaged.
        """
        return self._read_stored(self._in_files(window))

    def read_masked(self, window: Window) -> Valid | None:
        """(h, w) where the scene's explicit masks let a pixel through; None where they all do."""
        return self._read_masked(self._in_files(window))

    def _in_files(self, window: Window) -> Window:
        """Where a window of the scene lies on the grid of its files: elsewhere only for a part of a scene."""
        row, col = self._scene.origin
        return replace(window, row_off=window.row_off + row, col_off=window.col_off + col)

    def _read_stored(self, window: Window) -> list[NDArray[Any]]:
        bands: list[NDArray[Any]] = [np.empty(window.shape, band.dtype) for band in self.bands]
        for part in self._parts:
            block = np.empty((len(part.bidx), *window.shape), self.bands[part.rows[0]].dtype)
            for row, pixels in zip(part.rows, self._read_block(part, window, block.dtype), strict=True):
                bands[row][...] = pixels
        return bands

    def _read_masked(self, window: Window) -> Valid | None:
        valid: Valid | None = None
        for position in self._masks:
            asset = self._scene.assets[position]
            step = step_of(self._scene, asset)
            inner, cut = coarse(window, step, asset.shape)
            dataset = self._dataset(position)
            with self._damage(position, window):
                if asset.alpha is None:
                    seen = dataset.read_masks(1, window=_gdal_window(inner)) > 0
                else:
                    seen = dataset.read(asset.alpha, window=_gdal_window(inner)) > 0
            seen = seen if step == (1, 1) else repeat(seen, step)[cut]
            if not seen.all():
                valid = seen if valid is None else valid & seen
        return valid

    def _valid(self, stored: Any, pixels: Pixels, window: Window) -> Valid | None:
        valid = resolve_valid(self.bands, stored, pixels)
        if not self._masks:
            return valid
        masked = self._read_masked(window)
        if valid is None or masked is None:
            return masked if valid is None else valid
        return valid & masked

    def _read_part(self, part: AssetRead, window: Window, pixels: Pixels) -> None:
        """One read call into the rows of `pixels`, straight where they lie together."""
        first, count = part.rows[0], len(part.rows)
        together = part.rows == tuple(range(first, first + count))
        if together and part.step == (1, 1):
            dataset = self._dataset(part.asset)
            with self._damage(part.asset, window):
                dataset.read(part.bidx, window=_gdal_window(window), out=pixels[first : first + count])
            return
        for row, band in zip(part.rows, self._read_block(part, window, np.dtype(np.float32)), strict=True):
            pixels[row] = band

    def _read_block(self, part: AssetRead, window: Window, dtype: np.dtype[Any]) -> NDArray[Any]:
        """(bands of the part, h, w), coarse pixels repeated onto the scene's grid."""
        asset = self._scene.assets[part.asset]
        inner, cut = coarse(window, part.step, asset.shape)
        dataset = self._dataset(part.asset)
        with self._damage(part.asset, window):
            block: NDArray[Any] = dataset.read(part.bidx, window=_gdal_window(inner), out_dtype=dtype)
        return block if part.step == (1, 1) else repeat(block, part.step)[:, *cut]

    @contextmanager
    def _damage(self, position: int, window: Window | None) -> Iterator[None]:
        """A failed open or read becomes one sentence; if the bytes never came, the transport's own error."""
        try:
            yield
        except GDAL_FAULTS as exc:
            self._check_transport(position)
            if isinstance(exc.__cause__, CPLE_OutOfMemoryError):
                raise RetryableError(
                    "this machine has no memory left to decode a block; try again with fewer --workers"
                ) from exc
            where = "" if window is None else f" in {describe(window)}"
            what = public_href(self._scene.assets[position].href)
            raise UnreadableSceneError(f"{what} is damaged{where}; fetch or make it again ({reason(exc)})") from exc
        if self._files:
            self._check_transport(position)  # GDAL overlooks some: a mask it cannot reach is no mask to it

    def _check_transport(self, position: int) -> None:
        """Raise what a file-like met on its way to the bytes; the next read starts with a new one."""
        files = self._files.get(position)
        try:
            if files is not None:
                files.check()
        except SwathError:
            self.close()
            raise

    def _dataset(self, position: int) -> Any:
        if position not in self._datasets:
            # Settings are held while opening only: readers of one thread may be closed in any order.
            with gdal_settings(), self._damage(position, None):
                self._datasets[position] = self._open(position)
        return self._datasets[position]

    def _open(self, position: int) -> Any:
        asset = self._scene.assets[position]
        source = asset.href if self._open_asset is None else self._open_asset(asset)
        if isinstance(source, str):
            return self._stack.enter_context(open_raster(source, asset.driver))
        self._files[position] = source
        # rasterio clones a file-like by its name, or reads all of it into memory: an opener it asks for each file.
        return self._stack.enter_context(rasterio.open(source.name, driver=asset.driver, opener=source, sharing=False))


def describe(window: Window) -> str:
    """For people: `rows 0-255, columns 256-511`."""
    return f"rows {window.row_off}-{window.row_end - 1}, columns {window.col_off}-{window.col_end - 1}"


def _gdal_window(window: Window) -> GdalWindow:
    return GdalWindow(window.col_off, window.row_off, window.width, window.height)
