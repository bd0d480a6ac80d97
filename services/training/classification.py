"""Train a network that names whole images, judge it on images it never saw, and pack what was judged."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from services.core.errors import RequestError
from services.core.model.contract import Contract
from services.core.model.networks.registry import build_network
from services.training.augment import Augmentation
from services.training.fit_images import REVISION, ImageEpoch, ImageTrainer, Part
from services.training.fitted import Fitted
from services.training.image_recipe import ImageRecipe
from services.training.image_schedule import Schedule
from services.training.images import LabelledImages
from services.training.split_images import Indices, all_but, stratified_folds

NETWORK = "tile-net"
#: One image in twenty tells when to stop.
_HELD = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlan:
    """All that decides which network comes out, besides the images."""

    recipe: ImageRecipe
    seed: int = 1
    schedule: Schedule = field(default_factory=Schedule)
    augmentation: Augmentation = field(default_factory=Augmentation)
    #: How much less of all views of the held images may be right than with the best weights, for staying right on
    #: rougher images. It decides where on the way between two networks the weights come to rest, not on the two.
    rough_cost: float = 0.001

    def of_epochs(self, epochs: int | None) -> "ImagePlan":
        """The same plan in about this many epochs; None: as it is."""
        return self if epochs is None else replace(self, schedule=self.schedule.of_epochs(epochs))

    def digest(self, images: LabelledImages, held: Indices) -> str:
        """Of what is trained on what: a checkpoint with another one is no beginning of this training.

        Not of the CPU: another one, or another number of threads, adds in another order. A training that goes on there
        is as good, but its weights are not those of a training that never moved, to the last digits.
        """
        facts = {
            "plan": [self.recipe.model_dump(mode="json"), self.seed, asdict(self.schedule), asdict(self.augmentation)],
            "images": images.digest,
            "held": held.tolist(),
            "loop": REVISION,
            "torch": torch.__version__,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A network, the contract it was trained under, and the images it never learned from."""

    fitted: Fitted
    contract: Contract
    held: Indices  #: indices of the images that only judged


@dataclass(frozen=True, slots=True)
class Progress:
    """Who wants to know how far a training is; each is told its title."""

    after_epoch: Callable[[str, ImageEpoch], None]
    after_step: Callable[[str, float, int], None]  #: epochs done, with the part of the one under way, of how many


def train_images(images: LabelledImages, plan: ImagePlan, *, work: Path, progress: Progress | None = None) -> Trained:
    """Train on 19 images in 20; the twentieth tells when to stop.

    Args:
        images: Of the recipe's classes.
        plan: What to make.
        work: Folder for the checkpoint; a training that was killed goes on from there.
        progress: Who is told of it.

    Raises:
        RequestError: Too few images, or the checkpoint is of another training.
    """
    held = stratified_folds(images.labels, folds=_HELD, seed=plan.seed)[0]
    _check_enough(images, plan, [held])
    return _train_without(images, plan, held, work=work, progress=progress, title="training")


def cross_validate(
    images: LabelledImages, plan: ImagePlan, *, folds: int, work: Path, progress: Progress | None = None
) -> dict[str, Any]:
    """Accuracy on each part of the images by a network that never saw it: no image judges a network it shaped.

    The last epoch is judged, not the best one, so that no choice is made by the images that judge; for the same reason
    none stops early, and there are no rough epochs, whose weight is chosen by them.

    Returns:
        For metrics.json: `accuracy` per fold, `mean`, `std`, `epochs`, `images`, `cpu_minutes`.

    Raises:
        RequestError: Too few images for so many folds, or a checkpoint is of another training.
    """
    plan, scores, spent = replace(plan, schedule=replace(plan.schedule, rough_epochs=0, patience=1.0)), [], 0.0
    parts = stratified_folds(images.labels, folds=folds, seed=plan.seed)
    _check_enough(images, plan, parts)
    for number, held in enumerate(parts, 1):
        trained = _train_without(
            images,
            plan,
            held,
            work=work / f"fold-{number}-of-{folds}",
            progress=progress,
            title=f"fold {number}/{folds}",
        )
        scores.append(trained.fitted.history[-1]["validation"])
        spent += trained.fitted.cpu_s
    return {
        "folds": folds,
        "accuracy": scores,
        "mean": round(float(np.mean(scores)), 6),
        "std": round(float(np.std(scores)), 6),
        "epochs": len(plan.schedule.sizes),
        "images": len(images.labels),
        "cpu_minutes": round(spent / 60, 1),
    }


def _check_enough(images: LabelledImages, plan: ImagePlan, parts: Sequence[Indices]) -> None:
    """Without each part there must be a batch to learn from, and of every class an image in the part and outside it."""
    sizes, batch = [len(part) for part in parts], plan.schedule.batch
    least = len(images) - max(sizes)
    if least < batch:
        raise RequestError(
            f"{len(images)} images are too few: less those that judge, {least} are left to learn from, and {batch} are "
            "learned from at once; bring more"
        )
    counts = np.bincount(images.labels, minlength=len(images.classes))
    few, needed = int(counts.argmin()), max(2, len(parts))
    if counts[few] < needed:
        wish = "bring more" if needed == 2 else "ask for fewer folds, or bring more"
        raise RequestError(
            f"class {images.classes[few]} has too few images ({counts[few]}): {needed} are the least of which each "
            f"part that judges gets one and leaves one to learn from; {wish}"
        )


def _train_without(
    images: LabelledImages, plan: ImagePlan, held: Indices, *, work: Path, progress: Progress | None, title: str
) -> Trained:
    learn = all_but(len(images.labels), held)
    mean, std = _levels(images, learn)
    contract = plan.recipe.contract(mean, std)
    with torch.random.fork_rng(devices=[]):  # the caller's own chance is none of our business
        torch.manual_seed(plan.seed)
        network = build_network(NETWORK, network_arguments(plan.recipe))
    trainer = ImageTrainer(
        network,
        Part(images=images.pixels[learn], labels=images.labels[learn]),
        Part(images=images.pixels[held], labels=images.labels[held]),
        schedule=plan.schedule,
        augmentation=plan.augmentation,
        scaling=(mean, std),
        seed=plan.seed,
        work=work,
        inputs=plan.digest(images, held),
    )
    torch.set_flush_denormal(True)  # numbers too small to matter cost a hundred times as much to compute with
    try:
        if progress is None:
            fitted = trainer.run()
        else:
            fitted = trainer.run(partial(progress.after_epoch, title), moving=partial(progress.after_step, title))
    finally:
        torch.set_flush_denormal(False)  # it holds for the whole thread, whose other arithmetic is not ours
    return Trained(fitted=fitted, contract=contract, held=held)


def network_arguments(recipe: ImageRecipe) -> dict[str, Any]:
    """What `build_network` needs to make the recipe's network."""
    return {
        "bands": len(recipe.bands),
        "classes": len(recipe.classes),
        "width": recipe.width,
        "blocks": list(recipe.blocks),
    }


def _levels(images: LabelledImages, learn: Sequence[int] | Indices) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per band, over the images that are learned from."""
    counts = [np.bincount(images.pixels[learn, band].ravel(), minlength=256) for band in range(images.pixels.shape[1])]
    levels = np.arange(256)
    means = [float((levels * count).sum() / count.sum()) for count in counts]
    spread = [
        float(np.sqrt(((levels - mean) ** 2 * count).sum() / count.sum()))
        for mean, count in zip(means, counts, strict=True)
    ]
    return tuple(round(mean, 4) for mean in means), tuple(round(max(value, 1e-3), 4) for value in spread)
