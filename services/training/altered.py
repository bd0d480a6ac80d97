"""How right a classifier stays on images a little altered: what its accuracy on an archive's own files hides."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from services.core.model.backends import Backend
from services.core.model.package import ModelPackage
from services.training.evaluate_images import evaluate_images
from services.training.images import LabelledImages
from services.training.rough import blurred, recompressed

Pixels = NDArray[np.uint8]  #: (N, 3, H, W)


def _saved_again(quality: int) -> Callable[[Pixels], Pixels]:
    def save(pixels: Pixels) -> Pixels:
        images = (recompressed(image, quality=quality) for image in pixels.transpose(0, 2, 3, 1))
        return np.stack(list(images)).transpose(0, 3, 1, 2)

    return save


def _out_of_focus(pixels: Pixels) -> Pixels:
    chips = torch.from_numpy(pixels.astype(np.float32))
    return _levels(blurred(chips, torch.full((len(chips), 1, 1, 1), 0.15)).numpy())


def _grainy(pixels: Pixels) -> Pixels:
    noise = np.random.default_rng(0).standard_normal(pixels.shape, np.float32)
    return _levels(pixels + 3 * noise)


def _levels(values: NDArray[np.float32]) -> Pixels:
    return values.round().clip(0, 255).astype(np.uint8)


#: By what a person would call it; nothing here changes what an image shows.
ALTERATIONS: Mapping[str, Callable[[Pixels], Pixels]] = {
    "JPEG again, quality 90": _saved_again(90),
    "JPEG again, quality 75": _saved_again(75),
    "blurred by half a pixel": _out_of_focus,
    "grain of 3 levels": _grainy,
    "15 % darker": lambda pixels: _levels(pixels * np.float32(0.85)),
    "15 % brighter": lambda pixels: _levels(pixels * np.float32(1.15)),
}


def evaluate_altered(package: ModelPackage, images: LabelledImages, backend: Backend) -> dict[str, float]:
    """Accuracy on the images under each of `ALTERATIONS`.

    Raises:
        ContractError: The images are not what the model takes, or show other classes than it knows.
    """
    return {
        name: round(evaluate_images(package, replace(images, pixels=alter(images.pixels)), backend).accuracy.overall, 6)
        for name, alter in ALTERATIONS.items()
    }
