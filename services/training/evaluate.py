"""How right a map is, class by class, and what a random forest makes of the same pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.core.flow.execute import compute
from services.core.flow.flow import Flow
from services.core.grid import whole
from services.core.model.backends import Backend
from services.core.model.contract import ModelClass
from services.core.model.package import ModelPackage
from services.core.model.preprocess import Pixels, Valid
from services.core.raster.classmap import UNLABELLED
from services.core.records import Scene
from services.core.scene_bench import SceneBench
from services.training.figures import ratio
from services.training.samples import LabelledScene, Labels, Split

_TREES, _LEAF, _SHARE = 100, 5, 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """A confusion matrix and what is usually read from it."""

    confusion: NDArray[np.int64]  #: (K, K): rows are the truth, columns the map

    @property
    def pixels(self) -> int:
        """Labelled pixels counted."""
        return int(self.confusion.sum())

    @property
    def overall(self) -> float:
        """Share of pixels that are right."""
        assert self.pixels, "whoever judges has looked that something is labelled"
        return float(np.trace(self.confusion) / self.pixels)

    def as_json(self, classes: Sequence[ModelClass]) -> dict[str, Any]:
        """Overall, and per class: recall (producer's), precision (user's), IoU; None for a class that is absent."""
        hits, truth, told = np.diag(self.confusion), self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        per_class = {
            c.name: {
                "pixels": int(truth[c.value]),
                "recall": ratio(hits[c.value], truth[c.value]),
                "precision": ratio(hits[c.value], told[c.value]) if truth[c.value] else None,
                "iou": ratio(hits[c.value], truth[c.value] + told[c.value] - hits[c.value]) if truth[c.value] else None,
            }
            for c in classes
        }
        return {
            "overall": round(self.overall, 6),
            "pixels": self.pixels,
            "per_class": per_class,
            "confusion_truth_by_map": self.confusion.tolist(),
        }


def judge(answers: NDArray[Any], labels: Labels, part: Valid, *, classes: int) -> Accuracy:
    """Compare a map with the truth where `part` is True and the truth is known.

    Args:
        answers: (H, W) class values; nodata counts as wrong nowhere and is left out.
        labels: (H, W).
        part: (H, W).
        classes: K.
    """
    counted = part & (labels != UNLABELLED) & (answers < classes)
    pairs = labels[counted] * classes + answers[counted].astype(np.int64)
    return Accuracy(confusion=np.bincount(pairs, minlength=classes**2).reshape(classes, classes))


def map_scene(package: ModelPackage, scene: Scene, backend: Backend) -> NDArray[np.uint8]:
    """(H, W) class values of a whole scene, by the very operators of a batch run."""
    bands = package.contract.pick_bands(scene)
    flow = Flow.open(scene, bands).predict(package.digest, package.contract).argmax()
    bench = SceneBench(scene, bands, backend)
    try:
        answers: NDArray[np.uint8] = compute(flow, whole(scene.shape), bench).data[0].astype(np.uint8)
    finally:
        bench.close()
    return answers


def forest_baseline(labelled: LabelledScene, split: Split, *, seed: int) -> dict[str, float]:
    """Overall test accuracy of a random forest per pixel, and with means and deviations of the pixel's surroundings."""
    from sklearn.ensemble import RandomForestClassifier

    known = labelled.labels != UNLABELLED
    train, test = split.train & known, split.test & known
    scores = {}
    for name, sides in {"pixel": (), "3x3": (3,), "5x5": (5,), "3x3_5x5_9x9": (3, 5, 9)}.items():
        features = forest_features(labelled.pixels, sides)
        forest = RandomForestClassifier(
            _TREES, min_samples_leaf=_LEAF, max_samples=_SHARE, n_jobs=-1, random_state=seed
        ).fit(features[:, train].T, labelled.labels[train])
        right = forest.predict(features[:, test].T) == labelled.labels[test]
        scores[name] = round(float(right.mean()), 4)
    return scores


def forest_features(pixels: Pixels, sides: Sequence[int]) -> Pixels:
    """(C, H, W) -> (C * (1 + 2 * len(sides)), H, W): the pixel, then mean and deviation of each square around it."""
    layers = [pixels]
    for side in sides:
        mean = _box_mean(pixels, side)
        spread = np.sqrt(np.maximum(_box_mean(pixels**2, side) - mean**2, 0))
        layers += [mean, spread]
    return np.concatenate(layers)


def _box_mean(pixels: Pixels, side: int) -> Pixels:
    padded = np.pad(pixels, ((0, 0), (side // 2, side // 2), (side // 2, side // 2)), mode="reflect")
    for axis in (1, 2):
        padded = np.lib.stride_tricks.sliding_window_view(padded, side, axis=axis).mean(axis=-1)
    return padded
