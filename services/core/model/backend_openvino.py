"""OpenVINO: the fastest on most x86 hosts, and the only one here that computes bf16; int8 is a graph of its own."""

import threading

import numpy as np
import openvino as ov

from services.core.errors import BackendUnavailableError, PackageError
from services.core.model.batching import Chips, FixedBatches, Probabilities, batch_size
from services.core.model.package import ModelPackage
from services.core.model.precision import graph_file, require_int8

#: The int8 graph states its own integers; what it leaves as floats stays fp32, so that answers agree across hosts.
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}


class OpenVinoBackend:
    """One compiled model with as many streams as threads, one infer request per thread."""

    def __init__(self, package: ModelPackage, *, precision: str, threads: int) -> None:
        """Read the network and settle the precision."""
        self._core = ov.Core()
        self._precision = _resolve_precision(package, precision, self._core)
        self._threads = threads
        self._local = threading.local()
        self._compiled = self._compile(package)
        # The binding's first call sets up C++ statics under a guard while it lets go of the interpreter lock: two
        # threads that make the first call together can wait for each other for ever. So one makes it, here.
        self._infer(np.zeros(self._compiled.input(0).shape, np.float32))
        self._batches = FixedBatches(package.contract, threads=threads, run=self._infer)

    @property
    def id(self) -> str:
        """`openvino:fp32`, `openvino:bf16` or `openvino:int8`."""
        return f"openvino:{self._precision}"

    def predict(self, chips: Chips) -> Probabilities:
        """See `Backend.predict`."""
        return self._batches.predict(chips)

    def _infer(self, batch: Chips) -> Probabilities:
        if not hasattr(self._local, "request"):
            self._local.request = self._compiled.create_infer_request()
        self._local.request.infer([batch], share_inputs=True)
        # A copy: the request owns its output and the next call overwrites it.
        return np.array(self._local.request.get_output_tensor(0).data, np.float32)

    def _compile(self, package: ModelPackage) -> ov.CompiledModel:
        hints = {
            "NUM_STREAMS": self._threads,
            "INFERENCE_NUM_THREADS": self._threads,
            "INFERENCE_PRECISION_HINT": _HINTS[self._precision],
            "ENABLE_CPU_PINNING": False,  # pods share cores; pinned streams of two processes would pile up on one
        }
        contract = package.contract
        shape = [batch_size(contract.chip_px), len(contract.bands), contract.chip_px, contract.chip_px]
        try:
            network = self._core.read_model(package.read(graph_file(self._precision)), b"")
            network.reshape(shape)
            return self._core.compile_model(network, "CPU", hints)
        except RuntimeError as exc:
            reason = str(exc).strip().splitlines()[-1]
            raise PackageError(f"OpenVINO cannot load model {contract.name} for chips {shape}: {reason}") from exc


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
