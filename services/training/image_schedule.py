"""How long a whole-image classifier learns, how fast, and on what size of image."""

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long, how fast, on what size."""

    #: (side in pixels, epochs), in order: a small image costs a quarter and teaches the coarse half of the lesson.
    phases: tuple[tuple[int, int], ...] = ((32, 8), (48, 14), (64, 30))
    batch: int = 128
    turn: float = 0.05  #: the most that a step turns a kernel, as a share of its length
    rate: float = 0.08  #: highest learning rate of everything else
    warm_share: float = 0.1  #: of all steps, over which both rise
    decay: float = 5e-4  #: weight decay of the first convolution and the head
    smoothing: float = 0.1  #: of the labels
    plain_share: float = 0.2  #: of all epochs, at the end, without CutMix
    average: float = 0.998  #: decay of the weights' average per step
    patience: int = 12  #: epochs at full size without a better validation accuracy, after which it stops

    def of_epochs(self, epochs: int) -> "Schedule":
        """The same schedule, stretched or shrunk to about this many epochs; each size keeps one at least."""
        share = epochs / len(self.sizes)
        return replace(self, phases=tuple((px, max(1, round(count * share))) for px, count in self.phases))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Side of the chips, per epoch."""
        return tuple(px for px, epochs in self.phases for _ in range(epochs))


def rate_share(schedule: Schedule, done: float) -> float:
    """Of the highest rates: a line up, then half a cosine down to almost nothing; `done` is the share of all steps."""
    rise = min(1.0, done / schedule.warm_share + 0.01)
    fall = max(0.0, (done - schedule.warm_share) / (1 - schedule.warm_share))
    return rise * 0.5 * (1 + math.cos(math.pi * fall)) + 1e-3
