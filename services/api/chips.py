"""A decoded image, cut into what the network eats."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.core.grid import plan_chips
from services.core.model.preprocess import Normalisation, normalise


@dataclass(frozen=True, slots=True)
class Picture:
    """An image in the network's bands."""

    pixels: NDArray[np.float32]  #: (C, H, W), stored numbers, the owner's to overwrite
    valid: NDArray[np.bool_] | None  #: (H, W); None: all are usable
    norm: Normalisation


def cut_chips(picture: Picture, chip_px: int, *, most: int) -> Iterator[tuple[NDArray[np.float32], list[float]]]:
    """Normalised chips that cover the picture, and the usable part of each; chips without any are left out.

    Args:
        picture: At least a chip wide and high; overwritten.
        chip_px: Side of a chip.
        most: Chips at a time.

    Yields:
        (N, C, chip, chip) with N up to `most`, and N weights in (0, 1].
    """
    pixels = normalise(picture.pixels, picture.valid, picture.norm)
    height, width = pixels.shape[1:]
    if (height, width) == (chip_px, chip_px) and picture.valid is None:
        yield pixels[None], [1.0]
        return
    chips, weights = [], []
    for row in plan_chips(height, chip_px=chip_px, stride_px=chip_px):
        for col in plan_chips(width, chip_px=chip_px, stride_px=chip_px):
            here = slice(row, row + chip_px), slice(col, col + chip_px)
            weight = 1.0 if picture.valid is None else float(picture.valid[here].mean())
            if weight > 0:
                chips.append(pixels[:, *here])
                weights.append(weight)
            if len(chips) == most:
                yield np.stack(chips), weights
                chips, weights = [], []
    if chips:
        yield np.stack(chips), weights
