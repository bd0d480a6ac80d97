"""The one constant that turns a scene's stored numbers into scores of kind `threshold`."""

import numpy as np

from services.core.records import Scene


def score_scale(scene: Scene) -> float:
    """What a tile's mean stored number is multiplied by: one constant for all bands of a scene.

    - If every band declares a scale (file, item or sensor) and all declare the same one: that scale, so the score is
      in physical units such as reflectance. Offsets are left out: a score is a mean times a constant.
    - Else, if all bands store integers: one over the largest value of the widest type among them, so `uint8` gives
      1/255 and a mix of `uint8` and `uint16` gives 1/65535 for all bands.
    - Else, with a floating-point band: 1.

    One constant, even where bands differ, keeps a tile's score a plain mean over its pixels and bands.
    """
    scales = {band.scale for band in scene.bands}
    if len(scales) == 1 and all(band.scale_source != "none" for band in scene.bands):
        return scales.pop()
    dtypes = [np.dtype(band.dtype) for band in scene.bands]
    if any(dtype.kind not in "iu" for dtype in dtypes):
        return 1.0
    return 1.0 / max(int(np.iinfo(dtype).max) for dtype in dtypes)
