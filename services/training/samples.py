"""A labelled scene, cut so that no pixel it is judged by was ever seen while it learned, and crops of the rest."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.core.downloads import open_at_hand
from services.core.errors import RequestError
from services.core.grid import whole
from services.core.model.contract import Contract
from services.core.model.preprocess import Pixels, Valid, normalise, plan_normalisation
from services.core.raster.classmap import UNLABELLED, read_class_map
from services.core.raster.open import Fetch
from services.core.raster.read import SceneReader
from services.core.records import Band, Scene

Labels = NDArray[np.int64]  #: (H, W) class values from 0, `UNLABELLED` where nothing is known

#: Blocks of a 3 by 3 division of the scene, (row, col). The rest, less a margin, is learned from.
_BLOCKS = 3
_TEST_BLOCKS = ((2, 0), (0, 1))
_VALIDATION_BLOCKS = ((1, 2),)
_LEAST_LABELLED = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledScene:
    """A scene small enough to hold, and what every pixel is."""

    scene: Scene
    bands: tuple[Band, ...]
    pixels: Pixels  #: (C, H, W), stored numbers
    valid: Valid  #: (H, W)
    labels: Labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Three parts of a scene that share no pixel; each (H, W), True is in."""

    train: Valid
    validation: Valid
    test: Valid

    @property
    def held_out(self) -> Valid:
        """What training must not see, neither labels nor pixels."""
        return self.validation | self.test


def read_labelled(
    image: str | Path, truth: Path, *, contract: Contract, first_class: int, fetch: Fetch | None = None
) -> LabelledScene:
    """Read a scene and its class raster whole.

    Args:
        image: A scene.
        truth: Class raster on the scene's grid.
        contract: Says which bands, stored types and GSD the model is for; its mean and std do not matter yet.
        first_class: The number that becomes class value 0; smaller ones are unlabelled, and so are those too large.
        fetch: Brings a remote scene's files; None: local files only.

    Raises:
        BandMismatchError: A band is missing, or the truth lies on another grid.
        ContractError: The scene is not what the model is for.
    """
    scene = open_at_hand(str(image), fetch)
    bands = contract.pick_bands(scene)
    with SceneReader(scene, bands) as reader:
        pixels, valid = reader.read(whole(scene.shape))
    usable = np.ones(scene.shape, np.bool_) if valid is None else valid
    labels = read_class_map(truth, scene).astype(np.int64) - first_class
    labels[(labels < 0) | (labels >= len(contract.classes)) | ~usable] = UNLABELLED
    return LabelledScene(scene=scene, bands=bands, pixels=pixels, valid=usable, labels=labels)


def plan_split(shape: tuple[int, int], *, margin_px: int) -> Split:
    """Two of nine blocks for the test, one for validation, the rest less a margin around those for training.

    Blocks, not scattered pixels: neighbours are alike, and a pixel beside a training pixel is no test at all.

    Args:
        shape: (height, width).
        margin_px: At least the network's receptive radius, so that what it learns from and what it is judged by
            share no input pixel.

    Raises:
        RequestError: The scene is too small to be divided.
    """
    if min(shape) < _BLOCKS * 2 * margin_px:
        raise RequestError(
            f"a scene of {shape[0]} by {shape[1]} pixels is too small to hold out blocks; use a larger one"
        )
    test, validation = _blocks(shape, _TEST_BLOCKS, 0), _blocks(shape, _VALIDATION_BLOCKS, 0)
    near = _blocks(shape, _TEST_BLOCKS + _VALIDATION_BLOCKS, margin_px)
    return Split(train=~near, validation=validation, test=test)


def check_labelled(labels: Labels, split: Split) -> None:
    """Raise unless every part has pixels whose class is known: what cannot be judged is not worth learning.

    Raises:
        RequestError: One has none.
    """
    parts = {
        "testing (its upper middle and lower left ninths)": split.test,
        "validation (its right ninth in the middle)": split.validation,
        "training (what is left of it)": split.train,
    }
    for name, part in parts.items():
        if not (part & (labels != UNLABELLED)).any():
            raise RequestError(f"the truth labels no pixel of the part of the scene that is for {name}; label some")


def normalised(labelled: LabelledScene, contract: Contract, seen: Valid) -> Pixels:
    """(C, H, W) as the network gets it in a batch run; pixels not in `seen` are as if they were nodata."""
    norm = plan_normalisation(contract, labelled.bands)
    return normalise(labelled.pixels.copy(), labelled.valid & seen, norm)


class Crops:
    """Endless random crops of the training part, flipped and turned by quarter turns."""

    def __init__(self, pixels: Pixels, labels: Labels, *, crop_px: int, rng: np.random.Generator) -> None:
        """`labels` are `UNLABELLED` outside the training part.

        Raises:
            RequestError: No crop has enough labelled pixels.
        """
        self._pixels, self._labels, self._crop_px, self._rng = pixels, labels, crop_px, rng
        self._corners = np.argwhere(_box_mean(labels != UNLABELLED, crop_px) >= _LEAST_LABELLED)
        if not len(self._corners):
            raise RequestError(f"the truth labels too few pixels: no crop of {crop_px} px is 30 % labelled")

    def batches(self, count: int, *, size: int) -> Iterator[tuple[Pixels, Labels]]:
        """`count` batches of (size, C, crop, crop) and (size, crop, crop)."""
        for _ in range(count):
            pairs = [self._draw() for _ in range(size)]
            yield np.stack([pixels for pixels, _ in pairs]), np.stack([labels for _, labels in pairs])

    def _draw(self) -> tuple[Pixels, Labels]:
        row, col = self._corners[self._rng.integers(len(self._corners))]
        rows, cols = slice(row, row + self._crop_px), slice(col, col + self._crop_px)
        turns, flip = int(self._rng.integers(4)), bool(self._rng.integers(2))
        pixels = np.rot90(self._pixels[:, rows, cols], turns, axes=(1, 2))
        labels = np.rot90(self._labels[rows, cols], turns)
        return (pixels[:, :, ::-1], labels[:, ::-1]) if flip else (pixels, labels)


def _blocks(shape: tuple[int, int], cells: tuple[tuple[int, int], ...], margin_px: int) -> Valid:
    mask = np.zeros(shape, np.bool_)
    height, width = shape
    for row, col in cells:
        top, bottom = row * height // _BLOCKS - margin_px, (row + 1) * height // _BLOCKS + margin_px
        left, right = col * width // _BLOCKS - margin_px, (col + 1) * width // _BLOCKS + margin_px
        mask[max(top, 0) : bottom, max(left, 0) : right] = True
    return mask


def _box_mean(mask: Valid, px: int) -> NDArray[np.float64]:
    """Mean of every px by px box that lies inside, by its top left corner: (H - px + 1, W - px + 1)."""
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1))
    sums[1:, 1:] = mask.cumsum(axis=0).cumsum(axis=1)
    boxes = sums[px:, px:] - sums[:-px, px:] - sums[px:, :-px] + sums[:-px, :-px]
    return boxes / px**2
