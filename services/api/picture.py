"""A class map as a small PNG in the model's own colours."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.core.flow.predict import CLASS_NODATA
from services.core.model.contract import Contract
from services.core.records import Affine6


def north_up(classes: NDArray[np.uint8], transform: Affine6) -> NDArray[np.uint8]:
    """(H, W) with the projection's y growing upwards and its x to the right, as people hold a map.

    A rotated grid stays as it lies: no order of its rows and columns has north on top.
    """
    x_per_col, x_per_row, _, y_per_col, y_per_row, _ = transform
    if x_per_row or y_per_col:
        return classes
    return classes[:: -1 if y_per_row > 0 else 1, :: -1 if x_per_col < 0 else 1]


def paint(classes: NDArray[np.uint8], contract: Contract) -> bytes:
    """A palette PNG of (H, W) class values, clear where nothing is known.

    Args:
        classes: Values of the contract's classes, and 255.
        contract: Whose colours.
    """
    palette = bytearray(3 * 256)
    for each in contract.classes:
        palette[3 * each.value : 3 * each.value + 3] = bytes.fromhex(each.color.removeprefix("#"))
    image = Image.fromarray(classes)
    image.putpalette(bytes(palette))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", transparency=CLASS_NODATA, optimize=True)
    return buffer.getvalue()
