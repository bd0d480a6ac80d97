"""Whether a package may become what a model's name means: its libraries agree, and what it replaces was no better."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from services.core.errors import PackageError
from services.core.model.package import ModelPackage
from services.core.model.parity import Parity, check_parity
from services.training.images import LabelledImages
from services.training.seen_images import known_again, parse_seen

#: A successor may be this much less right, which is within what a change of library or processor does: 0.1 points.
TOLERANCE = 0.001

#: A package's `held_out`, measured now: data, and accuracy on it.
Measure = Callable[[ModelPackage], Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Data that both packages are to be measured on, which neither may have learned from."""

    data: str  #: its digest
    images: LabelledImages | None  #: None: a scene and its labels
    measure: Measure


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Why a package was let in."""

    parity: tuple[Parity, ...]
    accuracy: float | None  #: None: there was nothing to compare it with
    replaced_accuracy: float | None
    data: str | None  #: digest of the images or labels both were judged by
    #: Measured packages that do not say which images they learned from: of these, a part was not known again.
    unlisted: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For the command's answer."""
        return {
            "parity": [
                {"backend": p.backend, "worst": p.worst, "mean": p.mean, "why_not": p.why_not} for p in self.parity
            ],
            "accuracy": self.accuracy,
            "replaced_accuracy": self.replaced_accuracy,
            "data": self.data,
            "unlisted": list(self.unlisted),
        }


def admit(candidate: ModelPackage, incumbent: ModelPackage | None, *, trial: Trial | None = None) -> Admission:
    """Check a candidate for production.

    Its files were compared with its digest when it was loaded. Here its libraries are compared with each other, and
    its accuracy with that of the package it replaces, on the same data: measured now, where there is a `trial`, else
    as both packages' metrics.json have it. Thresholds have no network and no accuracy; of them the files count alone.

    Raises:
        PackageError: It may not be promoted, and why.
    """
    parity = tuple(check_parity(candidate))
    name, kind = candidate.contract.name, candidate.contract.kind
    if incumbent is not None and incumbent.contract.kind != kind:
        raise PackageError(
            f"model {name} is a {incumbent.contract.kind} in production and the candidate is a {kind}; give the "
            "candidate another name"
        )
    if incumbent is None or incumbent.digest == candidate.digest or kind == "threshold":
        return Admission(parity=parity, accuracy=None, replaced_accuracy=None, data=None)
    mine, theirs = _figures(candidate, incumbent, trial)
    if mine["accuracy"] < theirs["accuracy"] - TOLERANCE:
        raise PackageError(
            f"{candidate.digest[:12]} may not replace {incumbent.digest[:12]} as {name}: on the same held-out data it "
            f"is right in {100 * mine['accuracy']:.2f} % and the other in {100 * theirs['accuracy']:.2f} %"
        )
    measured = (candidate, incumbent) if trial is not None else ()
    return Admission(
        parity=parity,
        accuracy=mine["accuracy"],
        replaced_accuracy=theirs["accuracy"],
        data=str(mine["data"]),
        unlisted=tuple(package.digest for package in measured if _seen_by(package) is None),
    )


def _figures(
    candidate: ModelPackage, incumbent: ModelPackage, trial: Trial | None
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    if trial is not None:
        for package in (candidate, incumbent):
            _check_unseen(package, trial)
        return _counted(candidate, trial.measure(candidate)), _counted(incumbent, trial.measure(incumbent))
    mine, theirs = _stated(candidate), _stated(incumbent)
    if mine is None or theirs is None or mine["data"] != theirs["data"]:
        raise PackageError(
            f"{candidate.digest[:12]} cannot be compared with {incumbent.digest[:12]}, which is "
            f"{candidate.contract.name} in production: they were not measured on the same held-out data; "
            "name some with --data, to measure both"
        )
    return _counted(candidate, mine), _counted(incumbent, theirs)


def _counted(package: ModelPackage, figures: Mapping[str, Any]) -> Mapping[str, Any]:
    """The figures, unless they are of nothing: none of no pixels is wrong. Who does not say how many is believed."""
    if not figures.get("pixels", figures.get("images", 1)):
        raise PackageError(
            f"{package.digest[:12]} was measured on nothing, so nobody knows how right it is; "
            "name labelled data with --data, to measure both"
        )
    return figures


def _check_unseen(package: ModelPackage, trial: Trial) -> None:
    """Whole training data is known by its digest; a part of it, where the package tells its images."""
    if _training(package).get("data") == trial.data:
        raise PackageError(f"{package.digest[:12]} was trained on the data of --data; name some it never saw")
    seen = _seen_by(package)
    known = known_again(trial.images, seen) if trial.images is not None and seen else ()
    if known:
        raise PackageError(
            f"{package.digest[:12]} was trained on images of --data, {known[0]} for one; name some it never saw"
        )


def _seen_by(package: ModelPackage) -> frozenset[bytes] | None:
    """Marks of the images it was trained on, if it tells them."""
    return parse_seen(_training(package).get("seen"))


def _training(package: ModelPackage) -> Mapping[str, Any]:
    told = package.metrics.get("training")
    return told if isinstance(told, dict) else {}


def _stated(package: ModelPackage) -> Mapping[str, Any] | None:
    """`held_out` of metrics.json if it is one: the digest of the data, and the accuracy on it."""
    told = package.metrics.get("held_out")
    if not isinstance(told, dict) or not isinstance(told.get("data"), str):
        return None
    accuracy = told.get("accuracy")
    return told if isinstance(accuracy, int | float) and 0 <= accuracy <= 1 else None
