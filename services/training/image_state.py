"""All that a killed training of an image classifier needs to go on, and how it is kept."""

from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from services.training.checkpoint import read_checkpoint, write_checkpoint
from services.training.fitted import Weights
from services.training.image_optimisers import build_optimisers, momenta
from services.training.image_schedule import Schedule


@dataclass(slots=True)
class Standing:
    """How far a training is; plain values."""

    epoch: int = 0
    rough: int = 0  #: rough epochs done, after the others
    best: float = -1.0
    best_epoch: int = 0
    cpu_s: float = 0.0
    rng: dict[str, Any] = field(default_factory=dict)  #: filled when it is written
    history: list[dict[str, Any]] = field(default_factory=list)


class TrainingState:
    """The network that learns, its average, the best weights so far, the optimisers, the chance, and how far it is."""

    def __init__(self, network: nn.Module, schedule: Schedule, *, seed: int) -> None:
        """Where a training begins.

        Args:
            network: Freshly made, from a seeded torch.
            schedule: Of the training.
            seed: Of the order of images and all augmentation.
        """
        self._schedule = schedule
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub
        self.average = deepcopy(self.network).eval()
        self.best = deepcopy(self.average.state_dict())
        self.optimisers = build_optimisers(self.network, schedule)
        self.rng = np.random.default_rng(seed)
        self.standing = Standing()

    def keep_if_best(self, accuracy: float) -> None:
        """Keep the averaged weights of the epoch just done, if none before was more right."""
        if accuracy >= self.standing.best:
            self.standing.best, self.standing.best_epoch = accuracy, self.standing.epoch
            self.best = deepcopy(self.average.state_dict())

    def begin_at_best(self) -> None:
        """Go on from the best weights, without momentum."""
        self.network.load_state_dict(self.best)
        self.average.load_state_dict(self.best)
        self.optimisers = build_optimisers(self.network, self._schedule)

    def write(self, path: Path, *, inputs: str) -> None:
        """Replace the checkpoint; `inputs` is the digest of what the training depends on."""
        self.standing.rng = self.rng.bit_generator.state  # type: ignore[assignment]  # numpy types it as a Mapping
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for at, memory in enumerate(momenta(self.optimisers)):
            tensors[f"momentum.{at}"] = memory["momentum_buffer"]
        write_checkpoint(path, tensors, state=asdict(self.standing), inputs=inputs)

    def read(self, path: Path, *, inputs: str) -> None:
        """Go on where the checkpoint was written.

        Raises:
            RequestError: It is damaged, or of a training with other inputs.
        """
        tensors, standing = read_checkpoint(path, inputs=inputs)
        self.standing = Standing(**standing)
        self.rng.bit_generator.state = self.standing.rng
        for prefix, network in (("network.", self.network), ("average.", self.average)):
            network.load_state_dict(_under(prefix, tensors))
        self.best = _under("best.", tensors)
        for at, memory in enumerate(momenta(self.optimisers)):
            momentum = tensors[f"momentum.{at}"]
            if momentum.ndim == 4:
                momentum = momentum.contiguous(memory_format=torch.channels_last)
            memory["momentum_buffer"] = momentum


def _under(prefix: str, tensors: Weights) -> Weights:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
