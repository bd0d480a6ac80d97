"""A user's ONNX file as a package holds it: any batch, a softmax at the end, and its weights by name."""

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import checker, helper, numpy_helper
from safetensors.numpy import save

from services.core.errors import PackageError
from services.core.model.contract import Contract
from services.core.model.weights_check import check_onnx

_BATCH = "n"


def fit_onnx(body: bytes, contract: Contract, *, add_softmax: bool) -> bytes:
    """Free the batch dimension and add the softmax, after checking what the graph takes and gives.

    Args:
        body: The file.
        contract: What it promises.
        add_softmax: Whether it answers with logits.

    Raises:
        PackageError: Unsafe, damaged, or of other shapes than the contract says.
    """
    check_onnx(body)
    try:
        model = onnx.load_model_from_string(body)
        checker.check_model(model)
    except (DecodeError, checker.ValidationError) as exc:
        raise PackageError(f"the ONNX file is not valid: {str(exc).splitlines()[0]}") from exc
    graph = model.graph
    held = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in held]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise PackageError(
            f"the ONNX file has {len(inputs)} inputs and {len(graph.output)} outputs; one each is needed"
        )
    _check_shape(inputs[0], contract)
    if add_softmax:
        logits = graph.output[0].name
        graph.node.append(helper.make_node("Softmax", [logits], ["swath_probabilities"], axis=1))
        graph.output[0].name = "swath_probabilities"
    for value in (inputs[0], graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = _BATCH  # a fixed batch of 1 would take no other
    del graph.value_info[:]  # shapes inside, stated for the old batch
    fitted: bytes = model.SerializeToString(deterministic=True)
    return fitted


def weights_of_onnx(body: bytes) -> bytes:
    """Every floating-point weight of the graph as safetensors, by its name there.

    A package always has weights as safetensors, so that those who compare, prune or fine-tune read one format and need
    no ONNX library; relaxing that for some packages would make every reader ask first.

    Raises:
        PackageError: There is none.
    """
    graph = onnx.load_model_from_string(body).graph
    tensors: dict[str, NDArray[np.generic]] = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    for node in graph.node:  # some exporters write weights as constants
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            tensors[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    floats = {name: np.ascontiguousarray(array) for name, array in tensors.items() if array.dtype.kind == "f"}
    if not floats:
        raise PackageError("the ONNX file holds no floating-point weights, so it is no network; export it with them")
    return save(floats)


def _check_shape(value: onnx.ValueInfoProto, contract: Contract) -> None:
    """(N, C, h, w): stated sizes must be the contract's, free ones are tried later."""
    dims = value.type.tensor_type.shape.dim
    stated = [dim.dim_value for dim in dims]  # 0: free
    wanted = [0, len(contract.bands), contract.chip_px, contract.chip_px]
    fits = len(dims) == 4 and all(got in (0, want) for got, want in zip(stated[1:], wanted[1:], strict=True))
    if not fits or value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        kind = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
        told = f"{kind} {'x'.join(str(size) if size else 'n' for size in stated)}"
        raise PackageError(
            f"the ONNX file takes {told}, and the contract says float32 nx{'x'.join(map(str, wanted[1:]))} "
            "(bands, chip_px, chip_px); correct the contract, or export for it"
        )
