"""Which weights a classifier keeps: as near to its rough epochs as it stays right, in floats and in 8 bit integers.

The weights of the best epoch and those of the rough epochs after it lie in one valley, and on the way between them
robustness is won sooner than accuracy is lost. 8 bit integers have their own say, because their error is a kind of
grain too: a place that is as right as the best in floats may lose three times as much as another in integers. They
must also answer noise as promotion will ask them to, or what was trained could never be promoted.

Places are compared on the held images in all eight turns and mirrorings: nothing seen from above has an upper edge, a
thousand images alone tell one place from another no better than by three of them, and the best epoch was chosen by
them as they lie.

Source: Wortsman et al. 2022, https://arxiv.org/abs/2109.01903
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from services.core.errors import PackageError
from services.core.log import get_logger
from services.core.model.backends import Backend, Precision, open_backend
from services.core.model.package import INT8_GRAPH, ModelPackage
from services.core.model.parity import check_parity
from services.core.model.views import VIEWS, all_views
from services.training.calibration import calibrate
from services.training.classification import ImagePlan, Trained
from services.training.draft import drafted
from services.training.evaluate_images import evaluate_images, image_chips, predict_images
from services.training.export import onnx_bytes
from services.training.half import round_to_half
from services.training.image_files import model_json, network_files
from services.training.images import LabelledImages
from services.training.quantise import CALIBRATION_IMAGES, int8_onnx
from services.training.split_images import all_but, take

log = get_logger(__name__)

#: What int8 may cost: 0.1 points over all views of the held images.
TOLERANCE = 0.001
#: Places tried from the weights of the rough epochs, 1, towards the best ones, 0; the first that will do is taken.
_SHARES = tuple(step / 10 for step in range(10, 0, -1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The network to pack, in evaluation mode, its kernels rounded to 16 bits, and what decided for it."""

    network: nn.Module
    files: Mapping[str, bytes]  #: its weights and its fp32 graph, for the package
    rough_share: float  #: how far the weights lie from the best ones towards those of the rough epochs
    temperature: float  #: that its logits were divided by
    accuracy: float  #: over all views of the held images, in fp32
    int8_accuracy: float | None = None  #: None: int8 was not tried
    int8: bytes | None = None  #: the graph; None: not tried, it lost too much, or it is not alike
    int8_alike: bool = True  #: whether its answers to noise are near enough to fp32's for promotion
    first_look: float | None = None  #: fp32 accuracy if no chip were looked at again; None: not asked
    looked_again: float = 0.0  #: share of the views

    def as_json(self) -> dict[str, Any]:
        """What was found over all views, for metrics.json."""
        found: dict[str, Any] = {"views": VIEWS, "fp32": round(self.accuracy, 6)}
        if self.first_look is not None:
            found |= {"first_look": round(self.first_look, 6), "looked_again": round(self.looked_again, 6)}
        if self.int8_accuracy is not None:
            found |= {"int8": round(self.int8_accuracy, 6), "kept": self.int8 is not None, "tolerance": TOLERANCE}
        return found if self.int8_alike else found | {"alike": False}


def settle(trained: Trained, images: LabelledImages, plan: ImagePlan, *, int8: bool) -> Settled:
    """Choose the weights, by the held images.

    Args:
        trained: From `train_images`.
        images: All images of that training.
        plan: Of that training.
        int8: Whether to try 8 bit integers. Where no place suits them, the first that suits floats is kept without.
    """
    held = take(images, trained.held)
    judge = _Judge(trained=trained, images=images, plan=plan, held=held, views=from_all_sides(held))
    shares = _SHARES if trained.fitted.rough is not None else ()
    return judge.at_first_look(_choose(judge, _right_enough(judge, shares, plan.rough_cost), int8=int8))


def _choose(judge: "_Judge", places: Iterator[Settled], *, int8: bool) -> Settled:
    refused = []
    for right in places:
        place = judge.in_int8(right) if int8 else right
        log.info("weights tried", rough_share=place.rough_share, accuracy=place.accuracy, int8=place.int8_accuracy)
        if not int8 or place.int8 is not None:
            return place
        refused.append(place)
    return refused[0]


def _right_enough(judge: "_Judge", shares: Sequence[float], rough_cost: float) -> Iterator[Settled]:
    """Places as right as the best one, the roughest first and the best one last."""
    best = judge.in_floats(0.0)
    for share in shares:
        place = judge.in_floats(share)
        if _no_worse(place.accuracy, best.accuracy, rough_cost):
            yield place
    yield best


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judge:
    """What every place is made and judged with."""

    trained: Trained
    images: LabelledImages
    plan: ImagePlan
    held: LabelledImages
    views: LabelledImages

    def in_floats(self, share: float) -> Settled:
        """The network at one place."""
        contract = self.trained.contract
        network = self.trained.fitted.at(share)
        chips = torch.from_numpy(image_chips(contract, self.held.pixels))
        temperature = calibrate(network, chips, torch.from_numpy(self.held.labels))
        round_to_half(network)  # the package holds its kernels twice, and should stay small
        files = network_files(network, contract)
        accuracy = self._accuracy(network, files, "fp32")
        return Settled(network=network, files=files, rough_share=share, temperature=temperature, accuracy=accuracy)

    def in_int8(self, place: Settled) -> Settled:
        """The same with its int8 graph, if that is right enough and answers noise as promotion demands."""
        contract, seen = self.trained.contract, all_but(len(self.images), self.trained.held)
        few = min(CALIBRATION_IMAGES, len(seen))
        chosen = np.sort(np.random.default_rng(self.plan.seed).choice(seen, few, replace=False))
        plain = onnx_bytes(place.network, bands=len(contract.bands), chip_px=contract.chip_px)
        graph = int8_onnx(plain, image_chips(contract, self.images.pixels[chosen]))
        files = {**place.files, INT8_GRAPH: graph}
        judged = replace(place, int8_accuracy=self._accuracy(place.network, files, "int8"))
        if not _no_worse(judged.int8_accuracy or 0.0, place.accuracy, TOLERANCE):
            return judged
        alike = self._is_alike(place.network, files)
        return replace(judged, int8=graph if alike else None, int8_alike=alike)

    def at_first_look(self, place: Settled) -> Settled:
        """The same, and what its second look has to do with it."""
        least = self.trained.contract.second_look
        if least is None:
            return place
        with self._drafted(place.network, place.files) as draft:
            backend = _opened(draft.at_first_look, "fp32")
            first = predict_images(draft.contract, self.views.pixels, backend)
        right = first.argmax(axis=1) == self.views.labels
        return replace(place, first_look=float(right.mean()), looked_again=float((first.max(axis=1) < least).mean()))

    def _is_alike(self, network: nn.Module, files: Mapping[str, bytes]) -> bool:
        """Whether promotion would take the draft."""
        threads = torch.get_num_threads()
        try:
            with self._drafted(network, files) as draft:
                check_parity(draft)
        except PackageError as exc:
            log.info("int8 refused", reason=str(exc))
            return False
        finally:
            torch.set_num_threads(threads)  # the reference is torch, and opening it sets the whole process's count
        return True

    def _accuracy(self, network: nn.Module, files: Mapping[str, bytes], precision: Precision) -> float:
        with self._drafted(network, files) as draft:
            return evaluate_images(draft, self.views, _opened(draft, precision)).accuracy.overall

    def _drafted(self, network: nn.Module, files: Mapping[str, bytes]) -> AbstractContextManager[ModelPackage]:
        claimed = ("fp32", "int8") if INT8_GRAPH in files else ("fp32",)
        return drafted({**files, "model.json": model_json(network, self.trained.contract, self.plan.recipe, claimed)})


def _opened(package: ModelPackage, precision: Precision) -> Backend:
    return open_backend(package, name="openvino", precision=precision, threads=torch.get_num_threads())


def from_all_sides(images: LabelledImages) -> LabelledImages:
    """Every image eight times: turned by quarters, and mirrored; the first are the images as they lie."""
    return replace(
        images,
        pixels=np.concatenate(all_views(images.pixels)),
        labels=np.tile(images.labels, VIEWS),
        names=images.names * VIEWS,
    )


def _no_worse(accuracy: float, than: float, tolerance: float) -> bool:
    return accuracy >= than - tolerance - 1e-9
