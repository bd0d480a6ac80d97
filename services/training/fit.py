"""The training loop: random crops in, averaged weights out."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from services.core.model.preprocess import Pixels
from services.core.raster.classmap import UNLABELLED
from services.training.samples import Crops, Labels, Split

_CROP_PX, _CROPS_PER_STEP, _STEPS_PER_EPOCH = 64, 16, 8
_RATE, _WEIGHT_DECAY = 3e-3, 0.05
_SMOOTHING = 0.05  # the labels are known to be wrong in places
_AVERAGE_DECAY = 0.98  # over about the last 50 steps; without it, accuracy jumps by 5 points from step to step


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """Where training stands."""

    number: int  #: from 1
    of: int
    loss: float
    validation: float  #: overall accuracy on the validation part


Progress = Callable[[Epoch], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FitPlan:
    """How long and from what chance."""

    seed: int
    epochs: int
    classes: int
    weight_power: float = 0.0  #: see `Recipe.weight_power`
    progress: Progress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSamples:
    """What the loop may see."""

    #: (C, H, W), normalised, held-out pixels as nodata: what it learns from.
    seen: Pixels
    whole: Pixels  #: (C, H, W), normalised: for the validation accuracy only
    labels: Labels
    split: Split


def fit(network: nn.Module, samples: FitSamples, plan: FitPlan) -> nn.Module:
    """Train in place; returns the network with its averaged weights, in evaluation mode.

    The caller has seeded torch, whose chance made the network's first weights.
    """
    rng = np.random.default_rng(plan.seed)
    learned = np.where(samples.split.train, samples.labels, UNLABELLED)
    crops = Crops(samples.seen, learned, crop_px=_CROP_PX, rng=rng)
    weights = class_weights(learned, plan.classes, plan.weight_power)
    average = get_ema_multi_avg_fn(_AVERAGE_DECAY)  # type: ignore[no-untyped-call]  # not annotated by torch
    averaged = AveragedModel(network, multi_avg_fn=average, use_buffers=True)
    optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=plan.epochs * _STEPS_PER_EPOCH)
    for number in range(1, plan.epochs + 1):
        network.train()
        losses = []
        for chips, labels in crops.batches(_STEPS_PER_EPOCH, size=_CROPS_PER_STEP):
            loss = _loss(network, torch.from_numpy(chips), torch.from_numpy(labels), weights)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own annotation is missing
            optimiser.step()
            schedule.step()
            averaged.update_parameters(network)
            losses.append(loss.item())
        if plan.progress is not None:
            accuracy = _accuracy(averaged.module, samples)
            plan.progress(Epoch(number=number, of=plan.epochs, loss=float(np.mean(losses)), validation=accuracy))
    result: nn.Module = averaged.module.eval()
    return result


def class_weights(labels: Labels, classes: int, power: float) -> Tensor:
    """(K,) weights of the loss, 1 on average over the labelled pixels; a class without pixels has none."""
    counts = np.bincount(labels[labels != UNLABELLED], minlength=classes).astype(np.float64)
    weights = np.where(counts > 0, (counts.sum() / np.maximum(counts, 1)) ** power, 0.0)
    weights *= counts.sum() / (weights * counts).sum()
    return torch.from_numpy(weights.astype(np.float32))


def _loss(network: nn.Module, chips: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Cross entropy of (N, C, H, W) against (N, H, W)."""
    return functional.cross_entropy(
        network(chips), labels, weight=weights, ignore_index=UNLABELLED, label_smoothing=_SMOOTHING
    )


def _accuracy(network: nn.Module, samples: FitSamples) -> float:
    """Overall accuracy on the validation part, which is cut out with all the surroundings the scene has."""
    rows, cols = np.nonzero(samples.split.validation)
    top, left = max(rows.min() // 4 * 4 - 24, 0), max(cols.min() // 4 * 4 - 24, 0)
    bottom, right = top + (rows.max() + 1 - top) // 4 * 4, left + (cols.max() + 1 - left) // 4 * 4
    cut = (slice(top, bottom), slice(left, right))
    network.eval()
    with torch.inference_mode():
        logits = network(torch.from_numpy(samples.whole[:, *cut]).unsqueeze(0))  # (1, K, h, w)
    labels = np.where(samples.split.validation, samples.labels, UNLABELLED)[cut]
    known = labels != UNLABELLED
    return float((logits[0].argmax(dim=0).numpy() == labels)[known].mean()) if known.any() else float("nan")
