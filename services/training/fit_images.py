"""The training loop of whole-image classifiers: small images first, averaged weights out, resumable after a kill."""

import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from services.training.augment import Augmentation, Augmenter, Batch, Images
from services.training.fitted import Fitted
from services.training.image_optimisers import batch_loss, follow
from services.training.image_schedule import Schedule, rate_share, rough_rate_share
from services.training.image_state import TrainingState
from services.training.precision import computes_bf16

#: One more with every change after which equal inputs give other weights: of this loop, of augmentation, optimisers
#: and rates, or of the network's page. A checkpoint of before such a change is refused.
REVISION = 1

_NAME = "training.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Images and what they show."""

    images: Images  #: (N, C, H, W)
    labels: NDArray[np.int64]  #: (N,)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageEpoch:
    """Where training stands."""

    number: int  #: from 1
    of: int
    px: int
    loss: float
    validation: float  #: accuracy of the averaged weights
    cpu_s: float  #: processor seconds so far, of all threads, over all resumptions


#: Told after every step: epochs done, with the part of the one under way, and how many there may be.
Moving = Callable[[float, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pace:
    """How one epoch is gone through; the functions are of a step's number in it."""

    px: int
    mix: bool
    roughly: bool
    share: Callable[[int], float]  #: of the highest rates
    average: Callable[[int], float]  #: decay of the weights' average


class ImageTrainer:
    """One training; `run` begins it or goes on where a killed process left it, to the same weights either way."""

    def __init__(  # noqa: PLR0913  # by keyword
        self,
        network: nn.Module,
        train: Part,
        validation: Part,
        *,
        schedule: Schedule,
        augmentation: Augmentation,
        scaling: tuple[tuple[float, ...], tuple[float, ...]],
        seed: int,
        work: Path,
        inputs: str,
    ) -> None:
        """Prepare.

        Args:
            network: Freshly made, from a seeded torch.
            train: What it learns from.
            validation: What tells when to stop.
            schedule: How long.
            augmentation: How images may stray.
            scaling: Mean and standard deviation per band, 8 bit levels.
            seed: Of the order of images and all augmentation.
            work: Folder for the checkpoint, rewritten after every epoch.
            inputs: Digest of all that the result depends on; a checkpoint of other inputs is refused.
        """
        self._schedule, self._train, self._inputs = schedule, train, inputs
        self._state = TrainingState(network, schedule, seed=seed)
        mean, std = scaling
        self._augmenter = Augmenter(augmentation, mean=mean, std=std, rng=self._state.rng)
        shift = np.array(mean, np.float32)[:, None, None]
        chips = (validation.images - shift) / np.array(std, np.float32)[:, None, None]
        self._chips = torch.from_numpy(chips).contiguous(memory_format=torch.channels_last)
        self._labels = torch.from_numpy(validation.labels)
        self._path = work / _NAME

    def run(self, progress: Callable[[ImageEpoch], None] | None = None, *, moving: Moving | None = None) -> Fitted:
        """Train to the end, or until validation has stopped improving; then the rough epochs.

        Args:
            progress: Called after each epoch, when its checkpoint is written.
            moving: Called after each step.

        Raises:
            RequestError: The checkpoint belongs to other data, settings or code.
        """
        state, schedule = self._state, self._schedule
        if self._path.exists():
            state.read(self._path, inputs=self._inputs)
        done = state.standing
        while not done.rough and done.epoch < len(schedule.sizes) and not self._stuck():
            state.keep_if_best(self._go_through(self._pace(done.epoch), moving))
            self._save(progress)
        if schedule.rough_epochs and not done.rough:
            state.begin_at_best()
        while done.rough < schedule.rough_epochs:
            self._go_through(self._rough_pace(done.rough), moving)
            self._save(progress)
        rough = deepcopy(state.average.state_dict()) if done.rough else None
        state.average.load_state_dict(state.best)
        return Fitted(
            network=state.average, rough=rough, best_epoch=done.best_epoch, cpu_s=done.cpu_s, history=done.history
        )

    def _stuck(self) -> bool:
        return self._schedule.is_stuck([epoch["validation"] for epoch in self._state.standing.history])

    def _pace(self, epoch: int) -> _Pace:
        schedule, steps = self._schedule, self._steps()
        begin, whole = epoch * steps, len(schedule.sizes) * steps
        return _Pace(
            px=schedule.sizes[epoch],
            mix=epoch < len(schedule.sizes) * (1 - schedule.plain_share),
            roughly=False,
            share=lambda at: rate_share(schedule, (begin + at) / whole),
            average=lambda at: min(schedule.average, (begin + at + 1) / (begin + at + 20)),
        )

    def _rough_pace(self, epoch: int) -> _Pace:
        schedule, steps = self._schedule, self._steps()
        return _Pace(
            px=schedule.full_px,
            mix=False,
            roughly=True,
            share=lambda at: rough_rate_share(schedule, (epoch * steps + at) / (schedule.rough_epochs * steps)),
            average=lambda _: schedule.rough_average,
        )

    def _go_through(self, pace: _Pace, moving: Moving | None) -> float:
        """One pass over the training images, noted; the accuracy of the averaged weights."""
        done, begun, total = self._state.standing, time.process_time(), 0.0
        self._state.network.train()
        for at, chosen in enumerate(self._order()):
            batch = self._augmenter.batch(
                self._train.images[chosen],
                self._train.labels[chosen],
                px=pace.px,
                mix=pace.mix,
                roughly=pace.roughly,
            )
            total += self.step(batch, share=pace.share(at), average=pace.average(at))
            if moving is not None:
                moving(done.epoch + done.rough + (at + 1) / self._steps(), self._epochs)
        accuracy = self._accuracy()
        done.epoch, done.rough = done.epoch + (not pace.roughly), done.rough + pace.roughly
        done.cpu_s += time.process_time() - begun
        now = ImageEpoch(
            number=done.epoch + done.rough,
            of=self._epochs,
            px=pace.px,
            loss=round(total / self._steps(), 5),
            validation=round(accuracy, 6),
            cpu_s=round(done.cpu_s, 1),
        )
        done.history.append(asdict(now))
        return accuracy

    def step(self, batch: Batch, *, share: float, average: float) -> float:
        """Learn from one batch at this share of the highest rates; the loss."""
        state = self._state
        for optimiser in state.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["initial_lr"] * share
        with torch.autocast("cpu", torch.bfloat16, enabled=computes_bf16()):
            logits = state.network(batch.chips)
        loss = batch_loss(logits.float(), batch, self._schedule.smoothing)
        state.network.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own annotation is missing
        for optimiser in state.optimisers:
            optimiser.step()
        follow(state.average, state.network, average)
        return loss.item()

    @property
    def _epochs(self) -> int:
        return len(self._schedule.sizes) + self._schedule.rough_epochs

    def _steps(self) -> int:
        return len(self._train.labels) // self._schedule.batch

    def _order(self) -> Iterator[NDArray[np.int64]]:
        """Indices of each batch; what does not fill a last batch waits for another epoch's order."""
        order, size = self._state.rng.permutation(len(self._train.labels)), self._schedule.batch
        return (order[at * size : (at + 1) * size] for at in range(self._steps()))

    def _accuracy(self) -> float:
        """Of the averaged weights, on the validation part at full size."""
        average = self._state.average
        with torch.inference_mode():
            right = [
                (average(self._chips[at : at + 256]).argmax(dim=1) == self._labels[at : at + 256]).sum().item()
                for at in range(0, len(self._labels), 256)
            ]
        return float(sum(right)) / len(self._labels)

    def _save(self, progress: Callable[[ImageEpoch], None] | None) -> None:
        """Write the checkpoint, then tell of the epoch that is safe now."""
        self._state.write(self._path, inputs=self._inputs)
        if progress is not None:
            progress(ImageEpoch(**self._state.standing.history[-1]))
