"""Whether a network's answers survive bf16, found out where no CPU computes it: torch rounds as such a CPU would."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from services.core.model.preprocess import Pixels, Valid

_CHIP_PX = 128
_STEP_PX = 4  #: a segmentation halves its chips twice, so their sides are multiples of this
_PART = 256  #: chips answered at a time
#: What a package must meet to list bf16.
_LEAST_AGREEMENT, _MOST_DIFFERENCE = 0.99, 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Answers in bf16 against fp32, on pixels the network did not learn from."""

    answers: int  #: compared; one a pixel for a segmentation
    same_class: float  #: share of them
    worst: float  #: largest difference of a probability
    typical: float  #: mean difference

    @property
    def precisions(self) -> tuple[str, ...]:
        """What the package may say it was checked with."""
        good = self.same_class >= _LEAST_AGREEMENT and self.worst <= _MOST_DIFFERENCE
        return ("fp32", "bf16") if good else ("fp32",)

    def as_json(self) -> dict[str, Any]:
        """For metrics.json."""
        return {
            "how": "torch autocast to bfloat16 with fp32 accumulation, on pixels it did not learn from",
            "answers": self.answers,
            "same_class": round(self.same_class, 4),
            "largest_probability_difference": round(self.worst, 4),
            "mean_probability_difference": round(self.typical, 6),
        }


def computes_bf16() -> bool:
    """Whether this CPU multiplies in bfloat16 natively; elsewhere it would only be slower."""
    found = torch.cpu.get_capabilities()
    return bool(found.get("amx_bf16") or found.get("avx512_bf16"))


def bf16_agreement(network: nn.Module, pixels: Pixels, part: Valid) -> Agreement:
    """Compare on a chip in the middle of `part`.

    Args:
        network: In evaluation mode.
        pixels: (C, H, W), normalised.
        part: (H, W), True where the network did not learn.
    """
    rows, cols = np.nonzero(part)
    top, left = int(np.median(rows)) - _CHIP_PX // 2, int(np.median(cols)) - _CHIP_PX // 2
    top, left = max(top, 0), max(left, 0)
    chip = pixels[:, top : top + _CHIP_PX, left : left + _CHIP_PX]  # less where the scene ends
    height, width = (side // _STEP_PX * _STEP_PX for side in chip.shape[1:])
    return agreement(network, torch.from_numpy(chip[None, :, :height, :width].copy()))


def agreement(network: nn.Module, chips: Tensor) -> Agreement:
    """Compare on normalised chips (N, C, h, w); the network is in evaluation mode."""
    parts = torch.split(chips, _PART)
    with torch.inference_mode():
        exact = torch.cat([torch.softmax(network(part), dim=1) for part in parts])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = torch.cat([torch.softmax(network(part).float(), dim=1) for part in parts])
    difference = (exact - rounded).abs()
    same = exact.argmax(dim=1) == rounded.argmax(dim=1)
    return Agreement(
        answers=same.numel(),
        same_class=float(same.float().mean()),
        worst=float(difference.max()),
        typical=float(difference.mean()),
    )
