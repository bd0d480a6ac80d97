"""What a training of whole-image classifiers ends with."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

Weights = dict[str, Tensor]  #: a network's state, by name


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


def _between(best: Tensor, rough: Tensor, share: float) -> Tensor:
    return best + share * (rough - best) if best.is_floating_point() else best
