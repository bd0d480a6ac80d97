"""What happens to images on their way to a user: compressed again, a little out of focus, grainy.

A network that learns from one archive alone learns its files too: one that was 98.3 % right on EuroSAT's own JPEGs was
77 % right on the same pictures saved once more at quality 75 (docs/models.md), and drawn Sentinel-2 numbers were never
a JPEG at all.
"""

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

#: JPEG's quality, lowest and highest; and how it may store colours: as fine as brightness, half or a quarter of it.
QUALITY = (40, 95)
SAMPLINGS = (0, 1, 2)
#: Of the neighbour on either side, at most: a quarter blurs like a Gaussian of 0.7 pixels.
BLUR = 0.25
#: Standard deviation of the grain, at most, in 8 bit levels.
GRAIN = 4.0


def compress(images: NDArray[np.uint8], *, share: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(N, H, W, 3): some of the images as they look after another JPEG; in place."""
    for index in _some(len(images), share, rng):
        quality, sampling = int(rng.integers(QUALITY[0], QUALITY[1] + 1)), int(rng.choice(SAMPLINGS))
        images[index] = recompressed(images[index], quality=quality, sampling=sampling)
    return images


def recompressed(image: NDArray[np.uint8], *, quality: int, sampling: int = 2) -> NDArray[np.uint8]:
    """(H, W, 3), stored as JPEG and read again."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=sampling)
    return np.asarray(Image.open(buffer))


def blur(chips: Tensor, *, share: float, rng: np.random.Generator) -> Tensor:
    """(N, C, h, w): some of the chips a little out of focus; in place."""
    some = _some(len(chips), share, rng)
    if some.size:
        side = rng.uniform(0, BLUR, (some.size, 1, 1, 1)).astype(np.float32)
        chips[some] = blurred(chips[some], torch.from_numpy(side))
    return chips


def blurred(chips: Tensor, side: Tensor) -> Tensor:
    """(N, C, h, w), each pixel mixed with its neighbours along rows, then along columns; `side` is each one's share."""
    wide = functional.pad(chips, (1, 1, 0, 0), mode="reflect")
    chips = (1 - 2 * side) * chips + side * (wide[..., :-2] + wide[..., 2:])
    high = functional.pad(chips, (0, 0, 1, 1), mode="reflect")
    return (1 - 2 * side) * chips + side * (high[..., :-2, :] + high[..., 2:, :])


def grain(chips: Tensor, std: Tensor, *, share: float, rng: np.random.Generator) -> Tensor:
    """(N, C, h, w): some of the chips with noise of their own in every pixel; in place.

    Args:
        chips: Normalised.
        std: (C, 1, 1) that they were divided by, in 8 bit levels.
        share: Of the chips.
        rng: Of the chance.
    """
    some = _some(len(chips), share, rng)
    if some.size:
        noise = torch.from_numpy(rng.standard_normal((some.size, *chips.shape[1:]), np.float32))
        strength = torch.from_numpy(rng.uniform(0, GRAIN, (some.size, 1, 1, 1)).astype(np.float32))
        chips[some] += noise * strength / std
    return chips


def _some(count: int, share: float, rng: np.random.Generator) -> NDArray[np.int64]:
    return np.flatnonzero(rng.random(count) < share)
