"""How long a whole-image classifier learns, how fast, and on what size of image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long, how fast, on what size."""

    #: (side in pixels, epochs), in order: a small image costs a quarter and teaches the coarse half of the lesson.
    phases: tuple[tuple[int, int], ...] = ((32, 16), (48, 24), (64, 10))
    batch: int = 128
    turn: float = 0.05  #: the most that a step turns a kernel, as a share of its length
    rate: float = 0.08  #: highest learning rate of everything else
    warm_share: float = 0.1  #: of all steps, over which both rise
    decay: float = 5e-4  #: weight decay of the first convolution and the head
    smoothing: float = 0.1  #: of the labels
    plain_share: float = 0.2  #: of all epochs, at the end, without CutMix
    average: float = 0.998  #: decay of the weights' average per step
    #: Share of the epochs at full size without a better validation accuracy, after which it stops; 1: it never does.
    patience: float = 0.5
    #: Epochs after all these, on images as rough as users have them: they begin at the best weights and stay near them.
    rough_epochs: int = 3
    rough_rate: float = 0.06  #: share of both rates in them
    rough_average: float = 0.99

    def of_epochs(self, epochs: int) -> "Schedule":
        """The same schedule, stretched or shrunk to about this many epochs; each size keeps one, the rough too."""
        share = epochs / len(self.sizes)
        phases = tuple((px, max(1, round(count * share))) for px, count in self.phases)
        return replace(self, phases=phases, rough_epochs=max(1, round(self.rough_epochs * share)))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Side of the chips, per epoch, before the rough ones."""
        return tuple(px for px, epochs in self.phases for _ in range(epochs))

    @property
    def full_px(self) -> int:
        """Side of the chips in the end."""
        return self.phases[-1][0]

    def is_stuck(self, accuracies: Sequence[float]) -> bool:
        """Whether nothing better was seen for too long, at full size.

        Args:
            accuracies: On the validation part, of every epoch so far.
        """
        seen = [accuracy for accuracy, px in zip(accuracies, self.sizes, strict=False) if px == self.full_px]
        most = self.patience * self.sizes.count(self.full_px)
        return bool(seen) and seen[::-1].index(max(seen)) >= most  # the last of equals counts as the best


def rate_share(schedule: Schedule, done: float) -> float:
    """Of the highest rates: a line up, then half a cosine down to almost nothing; `done` is the share of all steps."""
    rise = min(1.0, done / schedule.warm_share + 0.01)
    fall = max(0.0, (done - schedule.warm_share) / (1 - schedule.warm_share))
    return rise * 0.5 * (1 + math.cos(math.pi * fall)) + 1e-3


def rough_rate_share(schedule: Schedule, done: float) -> float:
    """The same in the rough epochs, whose rates have no need to rise slowly."""
    return schedule.rough_rate * min(1.0, 10 * done + 0.01) * 0.5 * (1 + math.cos(math.pi * done)) + 1e-4
