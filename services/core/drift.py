"""How far a run's pixels and answers are from what its model was trained on: `swath drift` and the API share it."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from services.core.command import repeating_command
from services.core.errors import ContractError, ObjectNotFoundError
from services.core.model.package import ModelPackage
from services.core.model.statistics import Histogram, Statistics, parse_statistics
from services.core.product.publish import read_product_file
from services.core.product.spec import STATISTICS
from services.core.records import Product, Record, Run
from services.core.settings import Settings
from services.core.site import Site

Verdict = Literal["stable", "watch", "drifted"]
Kind = Literal["band", "score", "classes"]
Counts = NDArray[np.float64]
Shares = NDArray[np.float64]

#: The usual marks of the population stability index: below the first is stable, from the second on drifted.
WATCH_PSI, DRIFTED_PSI = 0.1, 0.25
#: Training counts are merged into groups of about this share before they are compared: deciles.
_GROUP_SHARE = 0.1
#: Shares below count as this: a group that training hardly filled must not carry the index alone.
_LEAST_SHARE = 1e-3


class Measure(Record):
    """One thing that may have drifted."""

    name: str
    kind: Kind
    samples: int  #: pixels, tiles or chips of the run that were counted
    psi: float  #: population stability index, 0 and up
    #: What chance alone makes of the index with so few samples: it is taken off before the verdict.
    noise: float
    distance: float  #: Jensen-Shannon, 0 (the same) to 1 (nothing in common)
    verdict: Verdict


#: From good to bad.
_VERDICTS: tuple[Verdict, ...] = ("stable", "watch", "drifted")


class Drift(Record):
    """A run beside its model's training data."""

    run_id: str
    scene_id: str
    model: str
    model_digest: str
    verdict: Verdict  #: the worst of the measures
    measures: tuple[Measure, ...]


def drift_of_run(site: Site, run_id: str) -> Drift:
    """Compare a published run with its model's training statistics.

    Raises:
        ObjectNotFoundError: No such run or product, or one of the two kept no statistics.
        ContractError: The two were not counted in the same bins.
    """
    run = site.catalog.run(run_id)
    package = site.models.by_digest(run.model_digest)
    training = training_statistics(package)
    seen = run_statistics(run, site.catalog.product(run.id), site.settings)
    measures = measure_drift(seen, training)
    return Drift(
        run_id=run.id,
        scene_id=run.scene_id,
        model=run.model_name,
        model_digest=run.model_digest,
        verdict=max((measure.verdict for measure in measures), key=_VERDICTS.index),
        measures=measures,
    )


def training_statistics(package: ModelPackage) -> Statistics:
    """What the model was trained on.

    Raises:
        ObjectNotFoundError: Its package does not say.
    """
    if STATISTICS not in package.files:
        raise ObjectNotFoundError(
            f"model {package.contract.name} {package.digest[:12]} has no {STATISTICS} of its training data, so nothing "
            "can be said of drift; train it again, or choose a model that has"
        )
    return parse_statistics(package.read(STATISTICS), f"{STATISTICS} of model {package.contract.name}")


def run_statistics(run: Run, product: Product, settings: Settings) -> Statistics:
    """What a run saw and answered.

    Raises:
        ObjectNotFoundError: It was published before runs kept statistics.
        CoverageError: The file was changed since.
    """
    if STATISTICS not in product.files:
        raise ObjectNotFoundError(
            f"run {run.id} was published by swath {run.code_version}, which kept no statistics; run it again with: "
            f"{repeating_command(run)}"
        )
    return parse_statistics(read_product_file(product, STATISTICS, settings), f"{STATISTICS} of run {run.id}")


def measure_drift(seen: Statistics, training: Statistics) -> tuple[Measure, ...]:
    """One measure per band, then the scores, then the classes.

    Raises:
        ContractError: Other bands, bins or classes; or one side counted nothing.
    """
    if list(seen.classes) != list(training.classes) or list(seen.bands) != list(training.bands):
        raise ContractError("run and training statistics are of other bands or classes; train the model again")
    pairs = _pairs(seen, training)
    return tuple(_measure(name, kind, now, before) for name, kind, now, before in pairs)


_Pair = tuple[str, Kind, Counts, Counts]


def _pairs(seen: Statistics, training: Statistics) -> Iterator[_Pair]:
    for name, before in training.bands.items():
        yield name, "band", *_grouped(name, seen.bands[name], before)
    yield "score", "score", *_grouped("score", seen.score, training.score)
    now, then = (np.array(list(one.classes.values()), np.float64) for one in (seen, training))
    yield "classes", "classes", now, then


def _grouped(name: str, seen: Histogram, training: Histogram) -> tuple[Counts, Counts]:
    if len(seen.edges) != len(training.edges) or not np.allclose(seen.edges, training.edges, rtol=1e-6):
        raise ContractError(f"{name} was counted in other bins than at training; train the model again")
    now, before = (np.array(one.counts, np.float64) for one in (seen, training))
    starts = _group_starts(before / max(before.sum(), 1))
    return np.add.reduceat(now, starts), np.add.reduceat(before, starts)


def _group_starts(shares: Shares) -> list[int]:
    """Where groups of neighbouring bins begin: about a tenth of training each, a heavy bin by itself, tails kept."""
    starts, filled = [0], 0.0
    for position, share in enumerate(shares.tolist()):
        full = filled >= _GROUP_SHARE or share >= _GROUP_SHARE
        if full and position > starts[-1]:
            starts.append(position)
            filled = 0.0
        filled += share
    return starts


def _measure(name: str, kind: Kind, now: Counts, before: Counts) -> Measure:
    if not now.sum() or not before.sum():
        raise ContractError(f"nothing was counted of {name}: no tile was computed, so nothing can be said of drift")
    psi = _stability(now, before)
    noise = (now.size - 1) * (1 / now.sum() + 1 / before.sum())
    return Measure(
        name=name,
        kind=kind,
        samples=int(now.sum()),
        psi=round(psi, 6),
        noise=round(float(noise), 6),
        distance=round(_distance(now / now.sum(), before / before.sum()), 6),
        verdict=_verdict(psi - noise),
    )


def _stability(now: Counts, before: Counts) -> float:
    """Population stability index: the sum of (p - q) ln(p / q), half a count added to each group."""
    p, q = (np.maximum((n + 0.5) / (n + 0.5).sum(), _LEAST_SHARE) for n in (now, before))
    return float(((p - q) * np.log(p / q)).sum())


def _distance(now: Shares, before: Shares) -> float:
    """Jensen-Shannon distance with logarithms to base 2."""
    middle = (now + before) / 2
    parts = (np.where(p > 0, p * np.log2(np.where(p > 0, p, 1) / middle.clip(1e-300)), 0).sum() for p in (now, before))
    return float(np.sqrt(max(sum(parts) / 2, 0.0)))


def _verdict(psi: float) -> Verdict:
    """By the index, chance taken off."""
    if psi < WATCH_PSI:
        return "stable"
    return "watch" if psi < DRIFTED_PSI else "drifted"
