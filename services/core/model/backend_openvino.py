"""OpenVINO: the fastest on most x86 hosts, and the only one here that computes bf16; int8 is a graph of its own."""

import threading

import numpy as np
import openvino as ov

from services.core.errors import BackendUnavailableError, PackageError
from services.core.model.batching import Chips, FixedBatches, Probabilities
from services.core.model.package import ModelPackage
from services.core.model.precision import graph_file, require_int8

#: The int8 graph states its own integers; what it leaves as floats stays fp32, so that answers agree across hosts.
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


class OpenVinoBackend:
    """One compiled model per batch size, with as many streams as threads; one infer request per thread and model."""

    def __init__(self, package: ModelPackage, *, precision: str, threads: int) -> None:
        """Read the network and settle the precision."""
        self._core = ov.Core()
        self._precision = _resolve_precision(package, precision, self._core)
        self._threads = threads
        self._contract = package.contract
        self._network = self._read(package)
        self._compiling = threading.Lock()
        self._compiled: dict[int, ov.CompiledModel] = {}
        self._local = threading.local()
        self._batches = FixedBatches(package.contract, threads=threads, run=self._infer)

    @property
    def id(self) -> str:
        """`openvino:fp32`, `openvino:bf16` or `openvino:int8`."""
        return f"openvino:{self._precision}"

    def predict(self, chips: Chips) -> Probabilities:
        """See `Backend.predict`."""
        return self._batches.predict(chips)

    def _infer(self, batch: Chips) -> Probabilities:
        request = self._request(batch.shape)
        request.infer([batch], share_inputs=True)
        # A copy: the request owns its output and the next call overwrites it.
        return np.array(request.get_output_tensor(0).data, np.float32)

    def _request(self, shape: tuple[int, ...]) -> ov.InferRequest:
        """This thread's own, for chips of this shape."""
        if not hasattr(self._local, "requests"):
            self._local.requests = {}
        requests: dict[int, ov.InferRequest] = self._local.requests
        count = shape[0]
        if count not in requests:
            with self._compiling:
                if count not in self._compiled:
                    self._compiled[count] = self._compile(shape)
            requests[count] = self._compiled[count].create_infer_request()
        return requests[count]

    def _read(self, package: ModelPackage) -> ov.Model:
        try:
            return self._core.read_model(package.read(graph_file(self._precision)), b"")
        except RuntimeError as exc:
            raise self._unusable("its graph cannot be read", exc) from exc

    def _compile(self, shape: tuple[int, ...]) -> ov.CompiledModel:
        hints = {
            "NUM_STREAMS": self._threads,
            "INFERENCE_NUM_THREADS": self._threads,
            "INFERENCE_PRECISION_HINT": _HINTS[self._precision],
            "ENABLE_CPU_PINNING": False,  # pods share cores; pinned streams of two processes would pile up on one
        }
        try:
            self._network.reshape(list(shape))
            return self._core.compile_model(self._network, "CPU", hints)
        except RuntimeError as exc:
            raise self._unusable(f"for chips {list(shape)}", exc) from exc

    def _unusable(self, what: str, exc: RuntimeError) -> PackageError:
        reason = str(exc).strip().splitlines()[-1]
        return PackageError(f"OpenVINO cannot load model {self._contract.name}, {what}: {reason}")


def _resolve_precision(package: ModelPackage, wanted: str, core: ov.Core) -> str:
    """Int8 where the package has it, else bf16 where the CPU has it and the package was checked with it, else fp32.

    Raises:
        BackendUnavailableError: What is asked for is not to be had.
    """
    if wanted == "int8" or (wanted == "auto" and "int8" in package.precisions):
        return require_int8(package)
    native = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    checked = "bf16" in package.precisions
    if wanted == "bf16" and not (native and checked):
        what = (
            "this CPU does not compute bf16" if not native else f"model {package.contract.name} was not checked in it"
        )
        raise BackendUnavailableError(f"precision bf16 cannot be used: {what}; set SWATH_PRECISION=auto or fp32")
    return "bf16" if wanted != "fp32" and native and checked else "fp32"
