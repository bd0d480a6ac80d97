"""Probabilities that mean what they say: one temperature for all logits, folded into the last layer."""

import numpy as np
import torch
from torch import Tensor, nn

#: Tried in turn; half a per cent apart.
_TEMPERATURES = np.geomspace(0.2, 5.0, 645)


def calibrate(network: nn.Module, chips: Tensor, labels: Tensor) -> float:
    """Divide the network's last linear layer, `head`, by the temperature that makes these labels likeliest.

    No answer changes, only how sure it is.

    Args:
        network: In evaluation mode; changed in place.
        chips: (N, C, h, w) of images it never learned from, normalised.
        labels: (N,).

    Returns:
        The temperature; below 1 the network was too modest.

    Source: Guo et al. 2017, https://arxiv.org/abs/1706.04599
    """
    with torch.inference_mode():
        logits = torch.cat([network(part) for part in torch.split(chips, 256)])  # (N, K)
    losses = [float(nn.functional.cross_entropy(logits / float(t), labels)) for t in _TEMPERATURES]
    best = float(_TEMPERATURES[int(np.argmin(losses))])
    head = network.get_submodule("head")
    with torch.no_grad():
        for weights in head.parameters():
            weights.div_(best)
    return best
