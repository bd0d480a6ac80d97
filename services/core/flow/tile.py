"""What flows between operators: a layer describes a raster that is never held whole, a tile is a window of it."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.core.grid import Window

Pixels = NDArray[np.float32]
Valid = NDArray[np.bool_]

#: Bytes of one pixel of one band on its way, and of one pixel of the valid mask.
PIXEL_BYTES = 4
VALID_BYTES = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """The raster an operator puts out: its bands and its grid, no pixels."""

    bands: tuple[str, ...]
    shape: tuple[int, int]  #: (height, width)
    #: Pixels of the scene per pixel of this layer along one side; 1.0 on the scene's own grid.
    step: float = 1.0

    def tile_bytes(self, window: Window) -> int:
        """Bytes that a tile of this layer occupies, valid mask included."""
        return window.size * (len(self.bands) * PIXEL_BYTES + VALID_BYTES)


@dataclass(slots=True, kw_only=True)
class Tile:
    """Pixels of one window of a layer. Never changed once another operator can see it."""

    window: Window
    data: Pixels  #: (C, H, W)
    valid: Valid | None = None  #: (H, W), True is usable; None: every pixel is

    def mask(self) -> Valid:
        """(H, W), made where it was left out."""
        return np.ones(self.window.shape, np.bool_) if self.valid is None else self.valid


class Bench(Protocol):
    """What a worker thread lends its operators: pixels of the scene and a network. Not shared between threads."""

    def read(self, bands: tuple[str, ...], window: Window) -> tuple[Pixels, Valid | None]:
        """Stored numbers of a window as (C, H, W) float32, and its valid mask; the caller owns both."""
        ...

    def predict(self, model: str, chips: Pixels) -> Pixels:
        """Probabilities (N, K) or (N, K, H, W) for chips (N, C, H, W), by the model with this digest."""
        ...
