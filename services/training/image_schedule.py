"""How long a whole-image classifier learns, how fast, and on what size of image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

_TOP_AGAIN = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long, how fast, on what size."""

    #: (side in pixels, epochs), in order: a small image costs a quarter and teaches the coarse half of the lesson.
    phases: tuple[tuple[int, int], ...] = ((32, 8), (48, 14), (64, 30))
    #: How often the rates fall to nothing; each time after the first begins halfway up, with full-size epochs alone.
    cycles: int = 1
    batch: int = 128
    turn: float = 0.05  #: the most that a step turns a kernel, as a share of its length
    rate: float = 0.08  #: highest learning rate of everything else
    warm_share: float = 0.1  #: of a cycle's steps, over which both rise
    decay: float = 5e-4  #: weight decay of the first convolution and the head
    smoothing: float = 0.1  #: of the labels
    plain_share: float = 0.2  #: of a cycle's epochs, at its end, without CutMix
    average: float = 0.998  #: decay of the weights' average per step
    patience: int = 12  #: full-size epochs of one cycle without a better validation accuracy, after which it stops

    def of_epochs(self, epochs: int) -> "Schedule":
        """The same schedule, its first cycle in about this many epochs, the others likewise; each size keeps one."""
        share = epochs / len(self._first)
        return replace(self, phases=tuple((px, max(1, round(count * share))) for px, count in self.phases))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Side of the chips, per epoch."""
        return self._first + (self.cycles - 1) * self._again

    @property
    def full_px(self) -> int:
        """Side of the chips in the end."""
        return self.phases[-1][0]

    def cycle(self, epoch: int) -> "Cycle":
        """The cycle that this epoch, from 0, belongs to."""
        first, again = len(self._first), len(self._again)
        if epoch < first:
            return Cycle(begin=0, epochs=first, top=1.0)
        return Cycle(begin=first + (epoch - first) // again * again, epochs=again, top=_TOP_AGAIN)

    def mixes(self, epoch: int) -> bool:
        """Whether this epoch, from 0, may use CutMix."""
        cycle = self.cycle(epoch)
        return epoch - cycle.begin < cycle.epochs * (1 - self.plain_share)

    def is_stuck(self, accuracies: Sequence[float]) -> bool:
        """Whether the cycle under way has seen nothing better for too long, at full size.

        A later cycle begins with what the one before had reached, and loses it at high rates to come out ahead: only
        its falling half is looked at.

        Args:
            accuracies: On the validation part, of every epoch so far.
        """
        cycle = self.cycle(len(accuracies))
        begin = cycle.begin + (cycle.epochs // 2 if cycle.begin else 0)
        seen = [
            accuracy for accuracy, px in zip(accuracies[begin:], self.sizes[begin:], strict=False) if px == self.full_px
        ]
        return bool(seen) and seen[::-1].index(max(seen)) >= self.patience  # the last of equals counts as the best

    def roughens(self, epoch: int) -> bool:
        """Whether this epoch, from 0, may compress, blur and roughen images: the first cycle sees the archive's own."""
        return self.cycle(epoch).begin > 0

    @property
    def _first(self) -> tuple[int, ...]:
        return tuple(px for px, epochs in self.phases for _ in range(epochs))

    @property
    def _again(self) -> tuple[int, ...]:
        return tuple(px for px in self._first if px == self.full_px)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """Epochs over which the rates rise and fall once."""

    begin: int  #: its first epoch, from 0
    epochs: int
    top: float  #: share of the schedule's rates at its height


def rate_share(schedule: Schedule, at: float) -> float:
    """Of the highest rates, after `at` epochs: a line up, then half a cosine down to almost nothing, in each cycle."""
    cycle = schedule.cycle(int(at))
    done = (at - cycle.begin) / cycle.epochs
    rise = min(1.0, done / schedule.warm_share + 0.01)
    fall = max(0.0, (done - schedule.warm_share) / (1 - schedule.warm_share))
    return cycle.top * rise * 0.5 * (1 + math.cos(math.pi * fall)) + 1e-3
