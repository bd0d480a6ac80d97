"""Which images a network learned from, told so briefly that metrics.json holds it, so that none of them judges it.

Of each image the sha256 of its pixels is taken, so that a new name or another lossless file hides nothing. Only hashes
in the lowest eighth are kept, six bytes of each: 20 kB for EuroSAT. A single image is known again with a chance of one
in eight, a hundred of them all but surely: (7/8)^100 is two in a million.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from services.training.images import LabelledImages
from services.training.split_images import Indices

_BYTES = 6
_KEPT_BELOW = 256 // 8  #: of a hash's first byte


def tell_seen(images: LabelledImages, learned: Indices) -> str:
    """For `training.seen` of metrics.json: marks of the images learned from, sorted, as base64."""
    marks = sorted({mark for _, mark in _marks(images.pixels, learned)})
    return base64.b64encode(b"".join(marks)).decode()


def parse_seen(told: object) -> frozenset[bytes] | None:
    """The marks; None: it says nothing of the kind."""
    if not isinstance(told, str):
        return None
    try:
        body = base64.b64decode(told, validate=True)
    except (binascii.Error, ValueError):
        return None
    return frozenset(body[at : at + _BYTES] for at in range(0, len(body), _BYTES))


def known_again(images: LabelledImages, seen: frozenset[bytes]) -> tuple[str, ...]:
    """Names of those of the images that are among the marks."""
    every = np.arange(len(images))
    return tuple(images.names[index] for index, mark in _marks(images.pixels, every) if mark in seen)


def _marks(pixels: NDArray[np.uint8], chosen: Indices) -> Iterator[tuple[int, bytes]]:
    """(index, mark) of the eighth of the images (N, 3, H, W) that are kept."""
    for index in chosen.tolist():
        hashed = hashlib.sha256(pixels[index].tobytes()).digest()
        if hashed[0] < _KEPT_BELOW:
            yield index, hashed[:_BYTES]
