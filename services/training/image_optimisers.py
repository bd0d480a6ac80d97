"""What one step of training an image classifier is made of: its loss, its optimisers, and the averaged weights."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from services.training.augment import Batch
from services.training.image_schedule import Schedule
from services.training.muon import Muon

Optimisers = tuple[torch.optim.Optimizer, ...]


def build_optimisers(network: nn.Module, schedule: Schedule) -> Optimisers:
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


def batch_loss(logits: Tensor, batch: Batch, smoothing: float) -> Tensor:
    """Cross entropy, shared between both classes where two images were mixed."""
    loss = functional.cross_entropy(logits, batch.labels, label_smoothing=smoothing)
    if batch.share == 1.0:
        return loss
    other = functional.cross_entropy(logits, batch.other, label_smoothing=smoothing)
    return batch.share * loss + (1 - batch.share) * other


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the averaged weights and statistics a little towards the network's."""
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
    for mine, theirs in zip(average.buffers(), network.buffers(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(theirs, 1 - decay)
        else:
            mine.copy_(theirs)


def momenta(optimisers: Optimisers) -> Iterator[dict[str, Any]]:
    """What each optimiser remembers of each parameter, in one order."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            yield from (optimiser.state[parameter] for parameter in group["params"])
