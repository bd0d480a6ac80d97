"""What a network eats and answers, counted in fixed bins: at training once and at every run again, to be compared.

The bins lie at fixed distances from the training mean, in training standard deviations, so units never matter. Counts
are whole numbers and add up to the same bytes in any order.
"""

from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from services.core.errors import PackageError
from services.core.model.contract import Contract
from services.core.records import Record

Counts = NDArray[np.int64]

#: Bins of a band: an eighth of a standard deviation each from -4 to 4, and two open ones.
_REACH, _PER_STD = 4, 8
_BAND_EDGES = np.arange(-_REACH * _PER_STD, _REACH * _PER_STD + 1) / _PER_STD
#: A network's best probability crowds near 1, so bins are finer there.
_SCORE_EDGES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999)
#: A threshold's score is a share of the full scale.
_THRESHOLD_EDGES = tuple(step / 100 for step in range(1, 100))
#: Pixels of a chip that are looked at, along one side.
_SAMPLES = 16


class Histogram(Record):
    """Counts between edges; the first and the last bin are open."""

    edges: tuple[float, ...]  #: rising
    counts: tuple[int, ...]  #: one more than edges

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.counts) != len(self.edges) + 1 or any(count < 0 for count in self.counts):
            raise ValueError("a histogram needs one count more than edges, none of them negative")
        if any(not low < high for low, high in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("edges must rise")
        return self


class Statistics(Record):
    """All of `statistics.json`, of a model package and of a product."""

    schema_version: Literal[1] = 1
    #: Per band, in the contract's units (levels, where it renders); a threshold has none.
    bands: dict[str, Histogram]
    score: Histogram  #: the best class's probability, or a threshold's score
    classes: dict[str, int] = Field(min_length=1)  #: how often each class was the best, in the contract's order

    def encode(self) -> bytes:
        """As JSON; the same bytes for the same counts."""
        return self.model_dump_json(indent=1).encode() + b"\n"


class Tally:
    """Counts under way; not shared between threads."""

    def __init__(self, contract: Contract, counts: Counts | None = None) -> None:
        """Go on from `counts` of another tally; None or none at all: from zero.

        Raises:
            PackageError: They are counts of another contract.
        """
        self._contract = contract
        self._names = () if contract.kind == "threshold" else contract.bands
        self._score_edges = _THRESHOLD_EDGES if contract.kind == "threshold" else _SCORE_EDGES
        sizes = (len(self._names) * _BAND_BINS, len(self._score_edges) + 1, len(contract.classes))
        if counts is None or not counts.size:
            counts = np.zeros(sum(sizes), np.int64)
        if counts.size != sum(sizes):
            raise PackageError(f"{counts.size} counts are not those of model {contract.name}; compute the run again")
        self.counts: Counts = counts.astype(np.int64)  #: all of them in a row; tallies of one contract add up
        bands, self._score, self._classes = np.split(self.counts, np.cumsum(sizes)[:2])
        self._bands = bands.reshape(len(self._names), _BAND_BINS)

    def see(self, chips: NDArray[np.float32], probabilities: NDArray[np.float32]) -> None:
        """Count what a network was given and what it answered, at the same few pixels of every chip.

        Args:
            chips: (N, C, h, w), normalised; a pixel that is 0 in every band is one that was not usable.
            probabilities: (N, K), or (N, K, h, w) for a segmentation.
        """
        lattice = tuple(slice(side // _SAMPLES // 2, None, max(side // _SAMPLES, 1)) for side in chips.shape[2:])
        sample = chips[:, :, *lattice]  # (N, C, y, x)
        known = (sample != 0).max(axis=1)  # (N, y, x)
        for position, band in enumerate(sample.swapaxes(0, 1)):
            self._bands[position] += _binned(band[known])
        per_pixel = probabilities.ndim == chips.ndim
        answers = probabilities[:, :, *lattice] if per_pixel else probabilities
        usable = known if per_pixel else known.reshape(len(known), -1).any(axis=1)
        self._count(answers.max(axis=1)[usable], answers.argmax(axis=1)[usable])

    def see_scores(self, scores: NDArray[np.float32]) -> None:
        """Count the scores of a threshold's tiles."""
        assert self._contract.threshold is not None, "the contract of a threshold has one"
        self._count(scores, (scores >= self._contract.threshold).astype(np.int64))

    def statistics(self) -> Statistics:
        """What was counted."""
        contract = self._contract
        ruled = zip(self._names, contract.mean, contract.std, self._bands, strict=True) if self._names else ()
        return Statistics(
            bands={
                name: Histogram(edges=tuple((mean + std * _BAND_EDGES).tolist()), counts=tuple(counts.tolist()))
                for name, mean, std, counts in ruled
            },
            score=Histogram(edges=self._score_edges, counts=tuple(self._score.tolist())),
            classes={c.name: int(count) for c, count in zip(contract.classes, self._classes, strict=True)},
        )

    def _count(self, scores: NDArray[np.float32], classes: NDArray[np.int64]) -> None:
        bins = np.searchsorted(np.array(self._score_edges, np.float32), scores.ravel(), side="right")
        self._score += np.bincount(bins, minlength=self._score.size)
        self._classes += np.bincount(classes.ravel(), minlength=self._classes.size)


_BAND_BINS = len(_BAND_EDGES) + 1


def _binned(values: NDArray[np.float32]) -> Counts:
    """Counts of normalised values in the bins of a band; equal steps need no search."""
    place = np.floor(values * _PER_STD) + (_REACH * _PER_STD + 1)
    return np.bincount(place.clip(0, _BAND_BINS - 1).astype(np.intp), minlength=_BAND_BINS)


def parse_statistics(data: bytes, name: str) -> Statistics:
    """The statistics in these bytes; `name` says where they were found.

    Raises:
        PackageError: They are none.
    """
    try:
        return Statistics.model_validate_json(data)
    except ValidationError as exc:
        raise PackageError(f"{name} holds no usable statistics: {exc.errors()[0]['msg']}; make it again") from exc
