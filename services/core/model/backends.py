"""Which inference library runs a package here: one of three behind one Protocol, chosen by measuring.

Every backend gives the same answer to a chip whatever is predicted beside it: chips go to the library in batches of
one fixed size (`batching.py`), filled up with zeros, never in the size a caller happened to bring. The three differ
from each other in the last digits, so a run pins one of them by its id, and `open_backend` remembers its choice.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol, cast

import numpy as np

from services.core.errors import BackendUnavailableError, ContractError
from services.core.extras import install_command
from services.core.model.batching import Chips, Probabilities, batch_size
from services.core.model.package import ModelPackage
from services.core.settings import Settings

Library = Literal["auto", "openvino", "onnxruntime", "torch"]
Precision = Literal["auto", "fp32", "bf16", "int8"]

#: `auto` tries them in this order; torch is the reference.
_SERVING = ("openvino", "onnxruntime")
#: A later library must be this much faster to be chosen: timings are noisy, and runs should agree.
_MARGIN = 1.1
_MEASURE_S = 0.3


class Backend(Protocol):
    """A network ready to run; any number of threads may call it at once."""

    @property
    def id(self) -> str:
        """Library and number format, `openvino:fp32`: part of every unit's key."""

    def predict(self, chips: Chips) -> Probabilities:
        """Probabilities of normalised chips (N, C, h, w): (N, K), or (N, K, h, w) for a segmentation.

        Raises:
            ContractError: Chips of a shape the network does not take.
        """


def open_backend(
    package: ModelPackage,
    *,
    name: Library = "auto",
    precision: Precision = "auto",
    threads: int = 1,
    cache: Path | None = None,
) -> Backend:
    """Load a package into an inference library.

    `auto` measures the installed libraries on a few chips (well under 1.5 s) and takes the fastest. `auto` precision
    is int8 where the package holds such a graph (it does only if it loses next to nothing), else bf16 where the CPU
    computes it natively and the package was checked with it, else fp32.

    Args:
        package: Of a kind that has a network.
        name: The library, or `auto`.
        precision: The number format, or `auto`.
        threads: Cores it may keep busy, over all callers together.
        cache: Folder that remembers the choice; None: measure each time.

    Raises:
        BackendUnavailableError: Library not installed, or the CPU or package does not do this precision.
        ContractError: The package has no network.
        PackageError: The network does not load.
    """
    if package.contract.kind == "threshold":
        raise ContractError(f"model {package.contract.name} is a threshold: it has no network to open")
    if name != "auto":
        return _open(name, package, precision, threads)
    wanted = _SERVING[:1] if precision == "bf16" else _SERVING  # onnxruntime has no bf16 on a CPU
    installed = [library for library in wanted if find_spec(library)] or ["torch"]
    if len(installed) == 1:
        return _open(installed[0], package, precision, threads)
    note = _note_path(package, precision, threads, cache)
    chosen = _recall(note)
    if chosen in installed:
        return _open(chosen, package, precision, threads)
    backends = [_open(library, package, precision, threads) for library in installed]
    best = _fastest(backends, package, threads)
    if note is not None:
        _remember(note, best.id.split(":", maxsplit=1)[0])
    return best


def open_configured(package: ModelPackage, settings: Settings, *, threads: int) -> Backend:
    """The backend that this installation's settings ask for; raises as `open_backend`."""
    return open_backend(
        package,
        name=settings.backend,
        precision=settings.precision,
        threads=threads,
        cache=backend_notes(settings),
    )


def backend_notes(settings: Settings) -> Path:
    """Where this installation remembers which library was the fastest."""
    return settings.scratch_path / "backends"


def open_pinned(package: ModelPackage, backend_id: str, *, threads: int = 1, cache: Path | None = None) -> Backend:
    """The backend with exactly this id: what a run started with, it ends with.

    Raises:
        BackendUnavailableError: It is not to be had here.
    """
    library, precision = backend_id.split(":")
    return open_backend(
        package, name=cast("Library", library), precision=cast("Precision", precision), threads=threads, cache=cache
    )


def installed_backends() -> list[str]:
    """Libraries that can be imported here, the reference included."""
    return [library for library in (*_SERVING, "torch") if find_spec(library)]


def _open(library: str, package: ModelPackage, precision: Precision, threads: int) -> Backend:
    if find_spec(library) is None:
        raise BackendUnavailableError(
            f"{library} is not installed, which model {package.contract.name} needs here; "
            f"run: {install_command(library)}"
        )
    openers: dict[str, Callable[[], Backend]] = {
        "openvino": lambda: _openvino(package, precision, threads),
        "onnxruntime": lambda: _onnxruntime(package, precision, threads),
        "torch": lambda: _torch(package, precision, threads),
    }
    return openers[library]()


def _openvino(package: ModelPackage, precision: Precision, threads: int) -> Backend:
    try:
        from services.core.model.backend_openvino import OpenVinoBackend
    except RuntimeError as exc:  # its telemetry looks for a home as soon as it is imported
        raise BackendUnavailableError(
            f"openvino does not start ({exc}); set HOME to a folder, or SWATH_BACKEND=onnxruntime"
        ) from exc

    return OpenVinoBackend(package, precision=precision, threads=threads)


def _onnxruntime(package: ModelPackage, precision: Precision, threads: int) -> Backend:
    from services.core.model.backend_onnxruntime import OnnxRuntimeBackend

    return OnnxRuntimeBackend(package, precision=precision, threads=threads)


def _torch(package: ModelPackage, precision: Precision, threads: int) -> Backend:
    from services.core.model.backend_torch import TorchBackend

    if precision in {"bf16", "int8"}:
        raise BackendUnavailableError(f"backend torch computes fp32 only; set SWATH_BACKEND=openvino for {precision}")
    return TorchBackend(package, threads=threads)


def _fastest(backends: list[Backend], package: ModelPackage, threads: int) -> Backend:
    best, best_rate = backends[0], 0.0
    for backend in backends:
        rate = _rate(backend, package, threads)
        if rate > best_rate * _MARGIN:
            best, best_rate = backend, rate
    return best


def _rate(backend: Backend, package: ModelPackage, threads: int) -> float:
    """Chips per second after one warm-up call, measured for `_MEASURE_S`."""
    contract = package.contract
    px = contract.chip_px
    chips = np.zeros((threads * batch_size(contract), len(contract.bands), px, px), np.float32)
    backend.predict(chips)
    start, done = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < _MEASURE_S:
        backend.predict(chips)
        done += len(chips)
    return done / spent


def _note_path(package: ModelPackage, precision: Precision, threads: int, cache: Path | None) -> Path | None:
    """Where the choice for this package, CPU and these library versions is kept."""
    if cache is None:
        return None
    versions = [_version(library) for library in _SERVING]
    facts = [package.digest, precision, threads, _cpu_model(), versions]
    return cache / f"backend-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]}.json"


def _recall(note: Path | None) -> str | None:
    """The library remembered; a missing or damaged note only means measuring again."""
    try:
        told = json.loads(note.read_bytes()) if note else {}
    except (OSError, ValueError):
        return None
    return told.get("library") if isinstance(told, dict) else None


def _remember(note: Path, library: str) -> None:
    """Keep the choice if the folder takes it; a note that cannot be kept only means measuring again."""
    draft = note.with_suffix(f".{os.getpid()}")
    with suppress(OSError):
        note.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps({"library": library}))
        draft.replace(note)


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:  # a build under another name, such as onnxruntime-openvino
        return "unknown"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else os.uname().machine
