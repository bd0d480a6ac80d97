"""A class map as a small PNG in the model's own colours."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.core.flow.predict import CLASS_NODATA
from services.core.model.contract import Contract


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
