"""Which images are learned from and which only judge: the same share of every class, by chance, from a seed."""

import hashlib
import json

import numpy as np
from numpy.typing import NDArray

from services.training.images import LabelledImages

Indices = NDArray[np.int64]


def stratified_folds(labels: NDArray[np.int64], *, folds: int, seed: int) -> tuple[Indices, ...]:
    """Indices in `folds` parts that share no image and hold every class in equal shares (to within one image).

    Args:
        labels: (N,) class of each image.
        folds: Parts to make.
        seed: Of the chance.
    """
    rng = np.random.default_rng(seed)
    parts: list[list[int]] = [[] for _ in range(folds)]
    for value in np.unique(labels):
        chosen = rng.permutation(np.flatnonzero(labels == value))
        for at, index in enumerate(chosen.tolist()):
            parts[at % folds].append(index)
    return tuple(np.array(sorted(part), np.int64) for part in parts)


def all_but(count: int, part: Indices) -> Indices:
    """The indices below `count` that are not in `part`."""
    rest = np.ones(count, bool)
    rest[part] = False
    return np.flatnonzero(rest)


def take(images: LabelledImages, part: Indices) -> LabelledImages:
    """Some of the images, with a digest of their own that any process finds again."""
    names = tuple(images.names[index] for index in part.tolist())
    told = json.dumps([images.digest, names], separators=(",", ":"))
    return LabelledImages(
        pixels=images.pixels[part],
        labels=images.labels[part],
        classes=images.classes,
        names=names,
        digest=hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest(),
    )
