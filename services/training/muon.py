"""Muon: an optimiser whose steps turn a convolution's kernels by the same angle in every direction."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

#: Of the quintic that brings singular values near 1, from the source below.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ROUNDS = 3


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, brought near the closest orthogonal matrix, for kernels with batch normalisation behind them.

    Such a kernel's length means nothing, so before a step it is brought back to sqrt(channels out): `lr` is then the
    share of its length by which it turns, and there is no weight decay to set.

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/. torch.optim.Muon takes matrices only, not
    kernels, and computes in bfloat16, which most CPUs emulate.
    """

    def __init__(self, kernels: Iterable[Tensor], lr: float, *, momentum: float) -> None:
        """`kernels` of (out, in, h, w)."""
        super().__init__(kernels, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # torch's overloads
        """Turn every kernel that has a gradient."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for kernel in group["params"]:
                if kernel.grad is not None:
                    self._turn(kernel, kernel.grad, group)
        return loss

    def _turn(self, kernel: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[kernel]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(kernel)
        momentum = state["momentum_buffer"].mul_(group["momentum"]).add_(gradient)
        ahead = gradient.add(momentum, alpha=group["momentum"])
        kernel.mul_(len(kernel) ** 0.5 / kernel.norm().clamp_min(1e-7))
        kernel.add_(near_orthogonal(ahead.reshape(len(ahead), -1)).view_as(ahead), alpha=-group["lr"])


def near_orthogonal(matrix: Tensor) -> Tensor:
    """The matrix with its larger singular values brought to about 1, by a few products instead of a decomposition.

    Every round multiplies by a polynomial in the square of the shorter side, and such polynomials commute: the rounds
    are gone through with that small square alone, and the long side is met twice instead of twice a round.
    """
    first, third, fifth = _QUINTIC
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp_min(1e-7)
    square = wide @ wide.T  # (short, short)
    turn = torch.eye(len(wide), dtype=wide.dtype)
    for _ in range(_ROUNDS):
        factor = third * square + fifth * square @ square
        factor.diagonal().add_(first)
        turn = factor @ turn
        square = factor @ square @ factor
    near: Tensor = turn @ wide
    return near if wide.shape == matrix.shape else near.T
