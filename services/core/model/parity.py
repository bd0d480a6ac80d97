"""Whether every installed library gives the answers that a package's reference gives, in every precision it claims."""

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from services.core.errors import BackendUnavailableError, PackageError
from services.core.model.backends import Backend, Library, Precision, installed_backends, open_backend
from services.core.model.batching import Chips, Probabilities
from services.core.model.contract import Contract
from services.core.model.package import ModelPackage

#: Largest mean difference of a probability from the reference; and, in fp32 alone, of any single one.
_MEAN_LIMIT = {"fp32": 1e-5, "bf16": 0.02, "int8": 0.05}
_WORST_LIMIT = 1e-4
_CHIPS, _SEED = 24, 20261121
#: Chips asked by themselves as well, and how far their answers may lie from those beside others.
_ALONE, _COMPANY_LIMIT = 3, 1e-3
_SUM_LIMIT = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """One library's answers beside the reference's, on the same chips."""

    backend: str  #: `openvino:fp32`
    reference: str
    worst: float | None  #: largest difference of a probability; None: not to be had on this machine
    mean: float | None
    why_not: str | None = None


def check_parity(package: ModelPackage, *, expected: Probabilities | None = None) -> list[Parity]:
    """Compare all backends on fixed random chips, at the first look.

    The reference is PyTorch where the package names a network of Swath's, else ONNX Runtime. What this machine cannot
    compute (bf16 on a CPU without it) is in the list with its reason, and compared nowhere.

    Args:
        package: To check.
        expected: Answers to `fixed_chips` by somebody outside: a user's own module.

    Raises:
        PackageError: A library does not load the network, answers in another shape, differs too much, or its answers
            are no probabilities.
        BackendUnavailableError: No inference library is installed.
    """
    if package.contract.kind == "threshold":
        return []
    package = package.at_first_look  # a last digit may decide whether a chip is looked at again
    chips = fixed_chips(package.contract)
    reference = "its own module"
    if expected is None:
        backend = _open_reference(package)
        reference, expected = backend.id, backend.predict(chips)
    _check_probabilities(package, expected)
    return [
        _compare(package, library, precision, (reference, chips, expected))
        for library, precision in comparable(package)
        if f"{library}:{precision}" != reference
    ]


def comparable(package: ModelPackage) -> list[tuple[Library, Precision]]:
    """Every installed library with each precision it has and the package claims; torch only where it has the page."""
    libraries = [name for name in installed_backends() if name != "torch" or package.network]
    return [
        (library, precision)  # type: ignore[misc]  # both come from lists of those literals
        for library in libraries
        for precision in package.precisions
        if precision == "fp32" or library == "openvino" or (library, precision) == ("onnxruntime", "int8")
    ]


def fixed_chips(contract: Contract) -> Chips:
    """The same normalised chips for everyone: noise, which reaches corners of a network that images do not."""
    shape = (_CHIPS, len(contract.bands), contract.chip_px, contract.chip_px)
    return np.random.default_rng(_SEED).standard_normal(shape, np.float32)


def _open_reference(package: ModelPackage) -> Backend:
    name: Library = "torch" if package.network and find_spec("torch") else "onnxruntime"
    return open_backend(package, name=name, precision="fp32")


def _compare(
    package: ModelPackage, library: Library, precision: Precision, known: tuple[str, Chips, Probabilities]
) -> Parity:
    reference, chips, expected = known
    name = f"{library}:{precision}"
    try:
        backend = open_backend(package, name=library, precision=precision)
    except BackendUnavailableError as exc:
        return Parity(backend=name, reference=reference, worst=None, mean=None, why_not=str(exc))
    answers = backend.predict(chips)
    _check_company(package, backend, chips, answers)
    difference = np.abs(answers - expected)
    worst, mean = float(difference.max()), float(difference.mean())
    if not mean <= _MEAN_LIMIT[precision] or (precision == "fp32" and not worst <= _WORST_LIMIT):
        raise PackageError(
            f"model {package.contract.name} answers differently in {name} than in {reference}: probabilities differ by "
            f"up to {worst:.2g}, {mean:.2g} on average, which is more than allowed; export the network again"
        )
    return Parity(backend=name, reference=reference, worst=worst, mean=mean)


def _check_company(package: ModelPackage, backend: Backend, chips: Chips, answers: Probabilities) -> None:
    """A chip asked by itself must be answered as beside others: means over a batch, say, would show in every map."""
    alone = np.concatenate([backend.predict(chip[None]) for chip in chips[:_ALONE]])
    worst = float(np.abs(alone - answers[:_ALONE]).max())
    if not worst <= _COMPANY_LIMIT:
        raise PackageError(
            f"the network of model {package.contract.name} answers a chip by itself otherwise than beside others in "
            f"{backend.id} (probabilities differ by up to {worst:.2g}); export it so that each chip is alone to it, "
            "with batch normalisation in evaluation mode"
        )


def _check_probabilities(package: ModelPackage, answers: Probabilities) -> None:
    """A softmax left out shows here: sums over the classes are not 1."""
    if not np.all(np.isfinite(answers)):
        raise PackageError(
            f"the network of model {package.contract.name} has no number for some chips of noise (NaN or infinity); "
            "find out which layer divides by 0 or grows beyond all numbers"
        )
    sums = answers.sum(axis=1)
    if answers.min() < 0 or np.abs(sums - 1).max() > _SUM_LIMIT:
        raise PackageError(
            f"the network of model {package.contract.name} does not answer with probabilities (over the classes they "
            f"sum to between {sums.min():.3g} and {sums.max():.3g}); its softmax must be inside the graph"
        )
