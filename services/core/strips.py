"""A unit's part of a class map, held as compressed column strips: a unit is as wide as its scene, and memory is not."""

import zlib
from collections.abc import Iterator
from typing import Self

import numpy as np
from numpy.typing import NDArray

from services.core.errors import CoverageError, WindowError
from services.core.grid import Window, whole

ClassPixels = NDArray[np.uint8]

#: Columns of a strip. Blocks of the map divide it, so none is touched for two strips.
STRIP_PX = 1024
#: Of pixels nobody painted.
UNPAINTED = 255
#: zlib's fastest, which numpy's .npz does not offer: class maps shrink to a few per cent at any level.
_LEVEL = 1
#: Even a map of noise in eight classes shrinks this much.
_SHRINKS = 2


class Strips:
    """Class pixels of (height, width), painted from left to right and read from left to right.

    Only the strips that are being painted are held as they are: one, or two while windows straddle their border.
    """

    def __init__(self, shape: tuple[int, int], packed: list[bytes] | None = None) -> None:
        """Nothing painted, unless `packed` holds every strip of an earlier one."""
        self.shape = shape
        self._packed = packed or []
        self._open: list[ClassPixels] = []

    def paint(self, window: Window, pixels: ClassPixels) -> None:
        """Put pixels in their place.

        Args:
            window: Inside (height, width), and not left of the strip in which an earlier window began.
            pixels: (h, w).

        Raises:
            WindowError: It is outside, or lies where the strips are closed.
        """
        window.within(whole(self.shape))
        if window.col_off // STRIP_PX < len(self._packed):
            raise WindowError(f"{window} comes after windows right of it; a unit is painted from left to right")
        self._close(window.col_off // STRIP_PX)
        for number in range(window.col_off // STRIP_PX, -(-window.col_end // STRIP_PX)):
            strip = self._window(number)
            shared = window.shared(strip)
            self._opened(number)[shared.within(strip)] = pixels[shared.within(window)]

    def pack(self) -> tuple[bytes, ...]:
        """Every strip, compressed, from left to right; nothing can be painted afterwards."""
        self._close(self._count)
        return tuple(self._packed)

    def __iter__(self) -> Iterator[tuple[Window, ClassPixels]]:
        """Each strip's window and pixels (h, w), one at a time; the pixels are the caller's to overwrite.

        Raises:
            CoverageError: What is held is not a map of this shape.
        """
        for number, packed in enumerate(self.pack()):
            window = self._window(number)
            try:
                pixels = np.frombuffer(bytearray(zlib.decompress(packed)), np.uint8).reshape(window.shape)
            except (zlib.error, ValueError) as exc:
                raise CoverageError(
                    f"pixels of a unit cannot be read ({exc}); resume the run to compute it again"
                ) from exc
            yield window, pixels

    @classmethod
    def of(cls, pixels: ClassPixels) -> Self:
        """Strips of (height, width) pixels that are at hand."""
        height, width = pixels.shape
        strips = cls((height, width))
        strips.paint(whole(strips.shape), pixels)
        return strips

    @property
    def _count(self) -> int:
        return -(-self.shape[1] // STRIP_PX)

    def _window(self, number: int) -> Window:
        return Window(row_off=0, col_off=number * STRIP_PX, height=self.shape[0], width=STRIP_PX).clip(self.shape)

    def _opened(self, number: int) -> ClassPixels:
        """The pixels of a strip that is not closed yet."""
        while len(self._packed) + len(self._open) <= number:
            window = self._window(len(self._packed) + len(self._open))
            self._open.append(np.full(window.shape, UNPAINTED, np.uint8))
        return self._open[number - len(self._packed)]

    def _close(self, stop: int) -> None:
        """Compress the strips before number `stop`."""
        while len(self._packed) < stop:
            self._opened(len(self._packed))
            self._packed.append(zlib.compress(self._open.pop(0).tobytes(), _LEVEL))


def strips_bytes(shape: tuple[int, int]) -> int:
    """What a part of (height, width) is expected to hold at most: two strips, and all of them compressed and joined."""
    height, width = shape
    return 2 * height * min(STRIP_PX, width) + 2 * height * width // _SHRINKS
