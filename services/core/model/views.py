"""What is seen from above looks as right turned or mirrored: the eight views of a square."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

VIEWS = 8


def all_views(chips: NDArray[Any]) -> NDArray[Any]:
    """(..., n, n) -> (8, ..., n, n): turned by quarters, and the same mirrored; the first is as it lies."""
    sides = (chips, chips[..., ::-1])
    return np.stack([np.rot90(side, quarters, axes=(-2, -1)) for side in sides for quarters in range(4)])
