"""How right, how sure and how fast a classifier of whole images is: through the path that batch and online take."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.core.errors import BackendUnavailableError, ContractError, UnanswerableError
from services.core.model.backends import Backend, open_backend
from services.core.model.batching import Chips, Probabilities
from services.core.model.contract import Contract
from services.core.model.package import ModelPackage
from services.core.model.parity import comparable
from services.core.model.preprocess import normalise, plan_normalisation
from services.core.records import Band
from services.training.evaluate import Accuracy
from services.training.figures import ratio
from services.training.images import LabelledImages

_COLOURS = ("red", "green", "blue")
_PART = 1024  #: images normalised at a time: 50 MB at 64 px
_BINS = 15
_SPEED_IMAGES, _SPEED_S = 512, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Images whose surest answer lies in one interval of confidence."""

    low: float
    high: float
    images: int
    confidence: float | None  #: mean over its images; None: it has none
    accuracy: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageVerdict:
    """What a package made of labelled images."""

    package: ModelPackage
    backend: str
    data: str  #: digest of the images
    accuracy: Accuracy
    bins: tuple[Bin, ...]

    @property
    def ece(self) -> float:
        """Expected calibration error: how far confidence and accuracy lie apart, on average over images.

        Source: Guo et al. 2017, https://arxiv.org/abs/1706.04599
        """
        apart = (b.images * abs((b.confidence or 0) - (b.accuracy or 0)) for b in self.bins)
        return sum(apart) / max(self.accuracy.pixels, 1)

    @property
    def held_out(self) -> dict[str, Any]:
        """For `held_out` of metrics.json, which promotion compares: which images, how many, how many right."""
        return {"data": self.data, "images": self.accuracy.pixels, "accuracy": round(self.accuracy.overall, 6)}

    def as_json(self) -> dict[str, Any]:
        """Everything, with classes by name."""
        return {
            "model": {"name": self.package.contract.name, "digest": self.package.digest},
            "backend": self.backend,
            "held_out": self.held_out,
            "accuracy": round(self.accuracy.overall, 6),
            "per_class": class_scores(self.accuracy, self.package.contract),
            "confusion_truth_by_answer": self.accuracy.confusion.tolist(),
            "calibration": {
                "ece": round(self.ece, 6),
                "bins": [
                    {
                        "low": round(b.low, 4),
                        "high": round(b.high, 4),
                        "images": b.images,
                        "confidence": b.confidence,
                        "accuracy": b.accuracy,
                    }
                    for b in self.bins
                ],
            },
        }


def evaluate_images(package: ModelPackage, images: LabelledImages, backend: Backend) -> ImageVerdict:
    """Let a backend name every image and compare.

    Raises:
        ContractError: The images are not what the model takes, or show other classes than it knows.
        UnanswerableError: The network has no number for one of them.
    """
    truth = _match_classes(package.contract, images)
    answers = predict_images(package.contract, images.pixels, backend)  # (N, K)
    _check_answered(package.contract, images, answers)
    told = answers.argmax(axis=1)
    count = len(package.contract.classes)
    confusion = np.bincount(truth * count + told, minlength=count**2).reshape(count, count)
    return ImageVerdict(
        package=package,
        backend=backend.id,
        data=images.digest,
        accuracy=Accuracy(confusion=confusion),
        bins=_reliability(answers.max(axis=1), told == truth),
    )


def _check_answered(contract: Contract, images: LabelledImages, answers: Probabilities) -> None:
    """NaN would count as the first class, which is the largest of none."""
    lost = np.flatnonzero(~np.isfinite(answers).all(axis=1))
    if len(lost):
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise UnanswerableError(
            f"model {contract.name} has no number for image {images.names[lost[0]]}{more}, so it cannot be judged by "
            "these images; mend the network, or leave them out"
        )


def predict_images(contract: Contract, pixels: NDArray[np.uint8], backend: Backend) -> Probabilities:
    """(N, 3, H, W) red, green, blue in 8 bits -> (N, K) probabilities.

    Raises:
        ContractError: The model does not take such images.
    """
    check_takes(contract, px=(pixels.shape[2], pixels.shape[3]))
    parts = [
        backend.predict(image_chips(contract, pixels[start : start + _PART])) for start in range(0, len(pixels), _PART)
    ]
    return np.concatenate(parts)


def image_chips(contract: Contract, pixels: NDArray[np.uint8]) -> Chips:
    """(N, 3, H, W) -> normalised (N, C, H, W) in the contract's band order."""
    bands = [Band(name=name, asset=0, bidx=_COLOURS.index(name) + 1, dtype="uint8") for name in contract.bands]
    chips = pixels[:, [band.bidx - 1 for band in bands]].astype(np.float32)
    return normalise(chips, None, plan_normalisation(contract, bands))  # its (C, 1, 1) lines fit (N, C, H, W) as well


def check_takes(contract: Contract, *, px: tuple[int, int]) -> None:
    """Whether 8 bit colour images of this size are what the model takes.

    Raises:
        ContractError: They are not.
    """
    strange = [name for name in contract.bands if name not in _COLOURS]
    if contract.kind != "classification":
        raise ContractError(f"model {contract.name} is a {contract.kind}, which names no whole images; give a scene")
    if strange or contract.units != "dn" or (contract.dtypes and "uint8" not in contract.dtypes):
        needs = ", ".join(contract.bands)
        raise ContractError(f"model {contract.name} takes {needs} in {contract.units}, not red, green, blue in 8 bits")
    if px != (contract.chip_px, contract.chip_px):
        raise ContractError(
            f"model {contract.name} takes images of {contract.chip_px}x{contract.chip_px} pixels; "
            f"these have {px[1]}x{px[0]}"
        )


def class_scores(accuracy: Accuracy, contract: Contract) -> dict[str, dict[str, Any]]:
    """Images, precision, recall and F1 per class; a share of nothing is None."""
    hits, truth = np.diag(accuracy.confusion), accuracy.confusion.sum(axis=1)
    told = accuracy.confusion.sum(axis=0)
    return {
        c.name: {
            "images": int(truth[c.value]),
            "precision": ratio(hits[c.value], told[c.value], digits=6),
            "recall": ratio(hits[c.value], truth[c.value], digits=6),
            "f1": ratio(2 * hits[c.value], truth[c.value] + told[c.value], digits=6),
        }
        for c in contract.classes
    }


def measure_speeds(package: ModelPackage, images: LabelledImages, *, threads: int) -> dict[str, float | str]:
    """Images per second of every installed library and claimed precision, network alone; or why there is no figure."""
    chips = image_chips(package.contract, evenly(images.pixels, most=_SPEED_IMAGES))
    found: dict[str, float | str] = {}
    for library, precision in comparable(package):
        try:
            backend = open_backend(package, name=library, precision=precision, threads=threads)
        except BackendUnavailableError as exc:
            found[f"{library}:{precision}"] = str(exc)
            continue
        found[backend.id] = round(_speed(backend, chips), 1)
    return found


def evenly(pixels: NDArray[np.uint8], *, most: int) -> NDArray[np.uint8]:
    """At most so many of the images, at even distances: they lie sorted by class, and some classes are doubted more."""
    chosen: NDArray[np.int64] = np.linspace(0, len(pixels) - 1, min(most, len(pixels))).astype(np.int64)
    return pixels[chosen]


def _speed(backend: Backend, chips: Chips) -> float:
    backend.predict(chips[:32])
    start, done = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < _SPEED_S:
        backend.predict(chips)
        done += len(chips)
    return done / spent


def _match_classes(contract: Contract, images: LabelledImages) -> NDArray[np.int64]:
    """(N,) the contract's class values, by name."""
    values: Mapping[str, int] = {c.name: c.value for c in contract.classes}
    extra = sorted(set(images.classes) - values.keys())
    missing = sorted(values.keys() - set(images.classes))
    if extra or missing:
        parts = [f"has no images of {', '.join(missing)}"] if missing else []
        parts += [f"shows {', '.join(extra)}, which it does not know"] if extra else []
        raise ContractError(f"the data does not fit the classes of model {contract.name}: it {' and '.join(parts)}")
    return np.array([values[name] for name in images.classes], np.int64)[images.labels]


def _reliability(confidence: NDArray[np.float32], right: NDArray[np.bool_]) -> tuple[Bin, ...]:
    edges = np.linspace(0, 1, _BINS + 1)
    inside = np.clip(np.ceil(confidence * _BINS).astype(int) - 1, 0, _BINS - 1)  # (low, high]
    bins = []
    for index in range(_BINS):
        chosen = inside == index
        some = bool(chosen.any())
        bins.append(
            Bin(
                low=float(edges[index]),
                high=float(edges[index + 1]),
                images=int(chosen.sum()),
                confidence=round(float(confidence[chosen].mean()), 6) if some else None,
                accuracy=round(float(right[chosen].mean()), 6) if some else None,
            )
        )
    return tuple(bins)
