"""A decoded image, cut into what the network eats."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.core.flow.mirror import fill_chip
from services.core.grid import plan_chips
from services.core.model.preprocess import Normalisation, normalise


@dataclass(frozen=True, slots=True)
class Picture:
    """An image in the network's bands."""

    pixels: NDArray[Any]  #: (C, H, W), stored numbers: float32, or uint8 for a quarter of the memory
    valid: NDArray[np.bool_] | None  #: (H, W); None: all are usable
    norm: Normalisation


def cut_chips(picture: Picture, chip_px: int, *, most: int) -> Iterator[tuple[NDArray[np.float32], list[float]]]:
    """Normalised chips that cover the picture, and the usable part of each; chips without any are left out.

    What a chip lacks is the mirror image of the rest, as in a map.

    Args:
        picture: At least a chip wide and high.
        chip_px: Side of a chip.
        most: Chips at a time; others are not normalised before they are asked for.

    Yields:
        (N, C, chip, chip) with N up to `most`, and N weights in (0, 1].
    """
    pixels, valid, bands = picture.pixels, picture.valid, len(picture.pixels)
    if valid is None and pixels.shape[1:] == (chip_px, chip_px):
        yield normalise(pixels, None, picture.norm, out=np.empty(pixels.shape, np.float32))[None], [1.0]
        return
    places = _places(picture, chip_px)
    while group := list(islice(places, most)):
        chips = np.empty((len(group), bands, chip_px, chip_px), np.float32)
        for chip, (here, _) in zip(chips, group, strict=True):
            usable = None if valid is None else valid[here]
            fill_chip(normalise(pixels[:, *here], usable, picture.norm, out=chip), usable)
        yield chips, [weight for _, weight in group]


def _places(picture: Picture, chip_px: int) -> Iterator[tuple[tuple[slice, slice], float]]:
    """Where chips lie, and their weights."""
    rows, cols = (plan_chips(size, chip_px=chip_px, stride_px=chip_px) for size in picture.pixels.shape[1:])
    for row, col in product(rows, cols):
        here = slice(row, row + chip_px), slice(col, col + chip_px)
        weight = 1.0 if picture.valid is None else float(picture.valid[here].mean())
        if weight > 0:
            yield here, weight
