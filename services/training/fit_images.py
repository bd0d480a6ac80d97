"""The training loop of whole-image classifiers: small images first, averaged weights out, resumable after a kill."""

import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from services.training.augment import Augmentation, Augmenter, Batch, Images
from services.training.checkpoint import read_checkpoint, write_checkpoint
from services.training.image_schedule import Schedule, rate_share, rough_rate_share
from services.training.muon import Muon

Weights = dict[str, Tensor]  #: a network's state, by name

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


@dataclass(slots=True)
class _State:
    """What a resumed training must know, besides tensors."""

    epoch: int = 0
    rough: int = 0  #: rough epochs done, after the others
    best: float = -1.0
    best_epoch: int = 0
    cpu_s: float = 0.0
    rng: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pace:
    """How one epoch is gone through; the functions are of a step's number in it."""

    px: int
    mix: bool
    roughly: bool
    share: Callable[[int], float]  #: of the highest rates
    average: Callable[[int], float]  #: decay of the weights' average


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """The network with its best averaged weights, in evaluation mode, and how it got there."""

    network: nn.Module
    rough: Weights | None  #: averaged, where the rough epochs ended; None: there were none
    best_epoch: int  #: of those before the rough ones
    cpu_s: float
    history: list[dict[str, Any]]

    def at(self, share: float) -> nn.Module:
        """A network of its own with weights on the line from the best ones (0) to those of the rough epochs (1)."""
        network = deepcopy(self.network)
        if share:
            assert self.rough is not None, "there is nowhere to go"
            best = network.state_dict()
            network.load_state_dict({name: _between(best[name], rough, share) for name, rough in self.rough.items()})
        return network


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
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub
        self._average = deepcopy(self._network).eval()
        self._best = deepcopy(self._average.state_dict())
        self._optimisers = _optimisers(self._network, schedule)
        self._rng = np.random.default_rng(seed)
        mean, std = scaling
        self._augmenter = Augmenter(augmentation, mean=mean, std=std, rng=self._rng)
        shift = np.array(mean, np.float32)[:, None, None]
        chips = (validation.images - shift) / np.array(std, np.float32)[:, None, None]
        self._chips = torch.from_numpy(chips).contiguous(memory_format=torch.channels_last)
        self._labels = torch.from_numpy(validation.labels)
        self._path = work / _NAME
        self._state = _State()

    def run(self, progress: Callable[[ImageEpoch], None] | None = None) -> Fitted:
        """Train to the end, or until validation has stopped improving; then the rough epochs.

        Raises:
            RequestError: The checkpoint belongs to other data, settings or code.
        """
        self._resume()
        state, schedule = self._state, self._schedule
        while not state.rough and state.epoch < len(schedule.sizes) and not self._stuck():
            accuracy = self._go_through(self._pace(state.epoch))
            if accuracy >= state.best:
                state.best, state.best_epoch = accuracy, state.epoch
                self._best = deepcopy(self._average.state_dict())
            self._save(progress)
        if schedule.rough_epochs and not state.rough:
            self._network.load_state_dict(self._best)
            self._average.load_state_dict(self._best)
            self._optimisers = _optimisers(self._network, schedule)
        while state.rough < schedule.rough_epochs:
            self._go_through(self._rough_pace(state.rough))
            self._save(progress)
        rough = deepcopy(self._average.state_dict()) if state.rough else None
        self._average.load_state_dict(self._best)
        return Fitted(
            network=self._average,
            rough=rough,
            best_epoch=state.best_epoch,
            cpu_s=state.cpu_s,
            history=state.history,
        )

    def _stuck(self) -> bool:
        return self._schedule.is_stuck([epoch["validation"] for epoch in self._state.history])

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

    def _go_through(self, pace: _Pace) -> float:
        """One pass over the training images, noted; the accuracy of the averaged weights."""
        state, begun, total = self._state, time.process_time(), 0.0
        self._network.train()
        for at, chosen in enumerate(self._order()):
            batch = self._augmenter.batch(
                self._train.images[chosen],
                self._train.labels[chosen],
                px=pace.px,
                mix=pace.mix,
                roughly=pace.roughly,
            )
            total += self.step(batch, share=pace.share(at), average=pace.average(at))
        accuracy = self._accuracy()
        state.epoch, state.rough = state.epoch + (not pace.roughly), state.rough + pace.roughly
        state.cpu_s += time.process_time() - begun
        now = ImageEpoch(
            number=state.epoch + state.rough,
            of=len(self._schedule.sizes) + self._schedule.rough_epochs,
            px=pace.px,
            loss=round(total / self._steps(), 5),
            validation=round(accuracy, 6),
            cpu_s=round(state.cpu_s, 1),
        )
        state.history.append(asdict(now))
        return accuracy

    def step(self, batch: Batch, *, share: float, average: float) -> float:
        """Learn from one batch at this share of the highest rates; the loss."""
        for optimiser in self._optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["initial_lr"] * share
        with torch.autocast("cpu", torch.bfloat16, enabled=computes_bf16()):
            logits = self._network(batch.chips)
        loss = _loss(logits.float(), batch, self._schedule.smoothing)
        self._network.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own annotation is missing
        for optimiser in self._optimisers:
            optimiser.step()
        _follow(self._average, self._network, average)
        return loss.item()

    def _steps(self) -> int:
        return len(self._train.labels) // self._schedule.batch

    def _order(self) -> Iterator[NDArray[np.int64]]:
        """Indices of each batch; what does not fill a last batch waits for another epoch's order."""
        order, size = self._rng.permutation(len(self._train.labels)), self._schedule.batch
        return (order[at * size : (at + 1) * size] for at in range(self._steps()))

    def _accuracy(self) -> float:
        """Of the averaged weights, on the validation part at full size."""
        with torch.inference_mode():
            right = [
                (self._average(self._chips[at : at + 256]).argmax(dim=1) == self._labels[at : at + 256]).sum().item()
                for at in range(0, len(self._labels), 256)
            ]
        return float(sum(right)) / len(self._labels)

    def _save(self, progress: Callable[[ImageEpoch], None] | None) -> None:
        """Write the checkpoint, then tell of the epoch that is safe now."""
        self._state.rng = self._rng.bit_generator.state  # type: ignore[assignment]  # numpy types it as a Mapping
        tensors = {f"network.{name}": value for name, value in self._network.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self._average.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self._best.items()}
        for at, state in enumerate(self._momenta()):
            tensors[f"momentum.{at}"] = state["momentum_buffer"]
        write_checkpoint(self._path, tensors, state=asdict(self._state), inputs=self._inputs)
        if progress is not None:
            progress(ImageEpoch(**self._state.history[-1]))

    def _resume(self) -> None:
        if not self._path.exists():
            return
        tensors, state = read_checkpoint(self._path, inputs=self._inputs)
        self._state = _State(**state)
        self._rng.bit_generator.state = self._state.rng
        for prefix, network in (("network.", self._network), ("average.", self._average)):
            network.load_state_dict(_under(prefix, tensors))
        self._best = _under("best.", tensors)
        for at, state in enumerate(self._momenta()):
            momentum = tensors[f"momentum.{at}"]
            if momentum.ndim == 4:
                momentum = momentum.contiguous(memory_format=torch.channels_last)
            state["momentum_buffer"] = momentum

    def _momenta(self) -> Iterator[dict[str, Any]]:
        """What each optimiser remembers of each parameter, in one order."""
        for optimiser in self._optimisers:
            for group in optimiser.param_groups:
                yield from (optimiser.state[parameter] for parameter in group["params"])


def _between(best: Tensor, rough: Tensor, share: float) -> Tensor:
    return best + share * (rough - best) if best.is_floating_point() else best


def computes_bf16() -> bool:
    """Whether this CPU multiplies in bfloat16 natively; elsewhere it would only be slower."""
    found = torch.cpu.get_capabilities()
    return bool(found.get("amx_bf16") or found.get("avx512_bf16"))


def _loss(logits: Tensor, batch: Batch, smoothing: float) -> Tensor:
    """Cross entropy, shared between both classes where two images were mixed."""
    loss = functional.cross_entropy(logits, batch.labels, label_smoothing=smoothing)
    if batch.share == 1.0:
        return loss
    other = functional.cross_entropy(logits, batch.other, label_smoothing=smoothing)
    return batch.share * loss + (1 - batch.share) * other


def _optimisers(network: nn.Module, schedule: Schedule) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for kernels, except the first, whose inputs are colours; SGD for the rest.

    Weight decay for matrices only: normalisation and biases have no reason to be small.
    """
    first, *kernels = [weights for weights in network.parameters() if weights.ndim == 4]
    matrices = [first, *(weights for weights in network.parameters() if weights.ndim == 2)]
    vectors = [weights for weights in network.parameters() if weights.ndim == 1]
    plain = torch.optim.SGD(
        [{"params": matrices, "weight_decay": schedule.decay}, {"params": vectors, "weight_decay": 0.0}],
        schedule.rate,
        momentum=0.9,
        nesterov=True,
    )
    optimisers = (plain, Muon(kernels, schedule.turn, momentum=0.8))
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["initial_lr"] = group["lr"]
    return optimisers


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the averaged weights and statistics a little towards the network's."""
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
    for mine, theirs in zip(average.buffers(), network.buffers(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(theirs, 1 - decay)
        else:
            mine.copy_(theirs)


def _under(prefix: str, tensors: Weights) -> Weights:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
