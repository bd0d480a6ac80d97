"""Fill what a chip lacks with the mirror image of what it has: beyond the scene's edge, under clouds, in nodata.

A network that names a whole chip was never shown one that is half empty, and guesses: docs/decisions/0005 has numbers.
"""

import numpy as np

from services.core.flow.tile import Pixels, Valid


def fill_chip(chip: Pixels, valid: Valid | None, *, held: tuple[int, ...] | None = None) -> None:
    """Mirror the usable pixels of a chip into the others, in place: the same for a map's chips and for an image's.

    Args:
        chip: (C, h, w), normalised.
        valid: (height, width) of the part that is held; None: all of it is usable.
        held: (height, width) of that part, from the chip's corner on; the rest is past the edge. None: the whole chip.
    """
    height, width = held or chip.shape[1:]
    if valid is None:  # a straight edge, or none: mirror_fill would give the same after forty times the work
        if (height, width) != chip.shape[1:]:
            below, right = chip.shape[1] - height, chip.shape[2] - width
            chip[:] = np.pad(chip[:, :height, :width], ((0, 0), (0, below), (0, right)), mode="reflect")
        return
    known = np.zeros(chip.shape[1:], np.bool_)
    known[:height, :width] = valid
    chip[:, ~known] = 0
    mirror_fill(chip, known)


def mirror_fill(chip: Pixels, known: Valid) -> None:
    """Fill the unknown pixels of a chip in place; one without a known pixel is left as it is.

    Rows that know much are completed first, then columns: what lies beyond a straight edge comes out as
    `numpy.pad(..., mode="reflect")` would have it.

    Args:
        chip: (C, h, w).
        known: (h, w); left alone.
    """
    if known.all() or not known.any():
        return
    counts = known.sum(axis=1)
    rich = counts >= counts.max() / 2
    filled = known.copy()
    rows, there = chip[:, rich], filled[rich]
    _fill_along(rows, there)
    chip[:, rich], filled[rich] = rows, there
    _fill_along(chip.swapaxes(1, 2), filled.T)


def _fill_along(values: Pixels, known: Valid) -> None:
    """Complete every line of (C, lines, length) that knows a pixel; `known` (lines, length) becomes True there."""
    length = known.shape[1]
    place = np.arange(length)
    lines = np.arange(len(known))[:, None]
    wanted = ~known & known.max(axis=1, keepdims=True)
    while wanted.any():  # each pass doubles what a line knows
        before = np.maximum.accumulate(np.where(known, place, -length), axis=1)
        after = np.minimum.accumulate(np.where(known, place, 2 * length)[:, ::-1], axis=1)[:, ::-1]
        nearest = np.where(place - before <= after - place, before, after)
        mirrored = 2 * nearest - place
        inside = (mirrored >= 0) & (mirrored < length)
        ready = wanted & inside & known[lines, mirrored.clip(0, length - 1)]
        if not ready.any():  # a line of single pixels has nothing to mirror: they are repeated
            mirrored, ready = nearest, wanted
        row, col = np.nonzero(ready)
        values[:, row, col] = values[:, row, mirrored[row, col]]
        known |= ready
        wanted &= ~ready
