"""ONNX Runtime: fp32, small, and what most other tools agree with."""

import numpy as np
import onnxruntime as ort

from services.core.errors import PackageError
from services.core.model.batching import Chips, FixedBatches, Probabilities
from services.core.model.package import ModelPackage

_LOAD_ERRORS = (
    ort.capi.onnxruntime_pybind11_state.Fail,
    ort.capi.onnxruntime_pybind11_state.InvalidGraph,
    ort.capi.onnxruntime_pybind11_state.InvalidProtobuf,
    ort.capi.onnxruntime_pybind11_state.NotImplemented,
    ort.capi.onnxruntime_pybind11_state.RuntimeException,
)
_ERRORS_ONLY = 3


class OnnxRuntimeBackend:
    """One session whose calls use one core each; the threads are ours."""

    def __init__(self, package: ModelPackage, *, threads: int) -> None:
        """Load the network."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        self._name = package.contract.name
        try:
            self._session = ort.InferenceSession(
                package.read("model.onnx"), options, providers=["CPUExecutionProvider"]
            )
        except _LOAD_ERRORS as exc:
            raise PackageError(f"ONNX Runtime cannot load model {self._name}: {str(exc).splitlines()[0]}") from exc
        self._input = self._session.get_inputs()[0].name
        self._batches = FixedBatches(package.contract, threads=threads, run=self._infer)

    @property
    def id(self) -> str:
        """`onnxruntime:fp32`."""
        return "onnxruntime:fp32"

    def predict(self, chips: Chips) -> Probabilities:
        """See `Backend.predict`."""
        return self._batches.predict(chips)

    def _infer(self, batch: Chips) -> Probabilities:
        try:
            answer = self._session.run(None, {self._input: batch})[0]
        except ort.capi.onnxruntime_pybind11_state.InvalidArgument as exc:
            raise PackageError(f"the network of model {self._name} does not take its contract's chips") from exc
        return np.asarray(answer, np.float32)
