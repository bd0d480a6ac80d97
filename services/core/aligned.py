"""Memory that begins where a processor's vectors do."""

import math

import numpy as np
from numpy.typing import NDArray

#: Bytes; the widest vectors there are.
VECTOR = 64


def empty_aligned(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Like `numpy.empty`, whose own arrays begin 16 bytes past the start of a page."""
    size = math.prod(shape) * np.dtype(np.float32).itemsize
    room = np.empty(size + VECTOR, np.uint8)
    start = -_address(room) % VECTOR
    return room[start : start + size].view(np.float32).reshape(shape)


def _address(values: NDArray[np.generic]) -> int:
    """Of the first number."""
    found: int = values.__array_interface__["data"][0]
    return found


def is_aligned(values: NDArray[np.generic]) -> bool:
    """Whether it begins where vectors do."""
    return _address(values) % VECTOR == 0
