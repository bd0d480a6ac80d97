"""ONNX Runtime: fp32 and int8, small, and what most other tools agree with."""

import numpy as np
import onnxruntime as ort

from services.core.errors import BackendUnavailableError, PackageError
from services.core.model.batching import Chips, FixedBatches, Probabilities
from services.core.model.package import ModelPackage
from services.core.model.precision import graph_file, require_int8

_LOAD_ERRORS = (
    ort.capi.onnxruntime_pybind11_state.Fail,
    ort.capi.onnxruntime_pybind11_state.InvalidGraph,
    ort.capi.onnxruntime_pybind11_state.InvalidProtobuf,
    ort.capi.onnxruntime_pybind11_state.NotImplemented,
    ort.capi.onnxruntime_pybind11_state.RuntimeException,
)
_RUN_ERRORS = (*_LOAD_ERRORS, ort.capi.onnxruntime_pybind11_state.InvalidArgument)
_FATAL_ONLY = 4  # what a call raises, it need not print as well


class OnnxRuntimeBackend:
    """One session whose calls use one core each; the threads are ours."""

    def __init__(self, package: ModelPackage, *, precision: str, threads: int) -> None:
        """Load the network."""
        self._precision = _resolve_precision(package, precision)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL_ONLY
        self._name = package.contract.name
        try:
            self._session = ort.InferenceSession(
                package.read(graph_file(self._precision)), options, providers=["CPUExecutionProvider"]
            )
        except _LOAD_ERRORS as exc:
            raise PackageError(f"ONNX Runtime cannot load model {self._name}: {str(exc).splitlines()[0]}") from exc
        self._input = self._session.get_inputs()[0].name
        self._batches = FixedBatches(package.contract, threads=threads, run=self._infer)

    @property
    def id(self) -> str:
        """`onnxruntime:fp32` or `onnxruntime:int8`."""
        return f"onnxruntime:{self._precision}"

    def predict(self, chips: Chips) -> Probabilities:
        """See `Backend.predict`."""
        return self._batches.predict(chips)

    def _infer(self, batch: Chips) -> Probabilities:
        try:
            answer = self._session.run(None, {self._input: batch})[0]
        except _RUN_ERRORS as exc:  # a batch of one written into the graph fails here, not at loading
            raise PackageError(
                f"the network of model {self._name} does not take its contract's chips, {len(batch)} at a time"
            ) from exc
        return np.asarray(answer, np.float32)


def _resolve_precision(package: ModelPackage, wanted: str) -> str:
    """Int8 where the package has it, else fp32.

    Raises:
        BackendUnavailableError: bf16, or int8 without its graph.
    """
    if wanted == "bf16":
        raise BackendUnavailableError("backend onnxruntime has no bf16 on a CPU; set SWATH_BACKEND=openvino for bf16")
    if wanted == "int8" or (wanted == "auto" and "int8" in package.precisions):
        return require_int8(package)
    return "fp32"
