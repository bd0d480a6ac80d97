"""Learn the one number of a `threshold` model from the scores of tiles."""

import json

import numpy as np
from numpy.typing import NDArray

from services.core.errors import RequestError
from services.core.model.contract import Contract, ModelClass
from services.core.model.mlm import ModelFacts, build_item

Scores = NDArray[np.float64]  #: (T,), one per tile

DARK_BRIGHT = (ModelClass(value=0, name="dark", color="#2d2d52"), ModelClass(value=1, name="bright", color="#f2e6a2"))


def otsu_threshold(scores: Scores) -> float:
    """The split that leaves the two sides most alike within themselves; needs no labels.

    Raises:
        RequestError: Fewer than two different scores.

    Source: Otsu 1979, https://doi.org/10.1109/TSMC.1979.4310076, on the values themselves instead of a histogram.
    """
    ordered = np.sort(scores)
    below, cuts = _cuts(ordered)
    sums = np.cumsum(ordered)
    low, high = sums[below - 1] / below, (sums[-1] - sums[below - 1]) / (len(ordered) - below)
    between = below * (len(ordered) - below) * (low - high) ** 2
    return float(cuts[np.argmax(between)])


def labelled_threshold(scores: Scores, bright: NDArray[np.bool_]) -> float:
    """The split that gets most labelled tiles right; the lowest of several equal ones.

    Args:
        scores: (T,).
        bright: (T,), the label of each tile.

    Raises:
        RequestError: Fewer than two different scores.
    """
    order = np.argsort(scores, kind="stable")
    below, cuts = _cuts(scores[order])
    labels = bright[order]
    right = np.cumsum(~labels)[below - 1] + (labels.sum() - np.cumsum(labels)[below - 1])
    return float(cuts[np.argmax(right)])


def threshold_files(contract: Contract, card: str, metrics: dict[str, object]) -> dict[str, bytes]:
    """The files of a threshold package, for `save_package`."""
    facts = ModelFacts(description=card.splitlines()[0].lstrip("# "), architecture="Threshold on mean intensity")
    return {
        "model.json": _json(build_item(contract, facts)),
        "metrics.json": _json(metrics),
        "card.md": card.encode(),
    }


def _cuts(ordered: Scores) -> tuple[NDArray[np.intp], Scores]:
    """(how many scores lie below, the cut halfway) for every place where ordered scores differ."""
    below = np.flatnonzero(np.diff(ordered) > 0) + 1
    if not len(below):
        raise RequestError("a threshold cannot be learned: every tile has the same score; give scenes that differ")
    return below, (ordered[below - 1] + ordered[below]) / 2


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()
