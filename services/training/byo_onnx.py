"""A user's ONNX file as a package holds it: any batch, a softmax at the end, and its weights by name."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import checker, helper, numpy_helper
from safetensors.numpy import save

from services.core.errors import PackageError
from services.core.model.contract import Contract
from services.core.model.weights_check import check_onnx

_BATCH, _ANSWER = "n", "swath_probabilities"


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
    with _translated():
        model = onnx.load_model_from_string(body)
        checker.check_model(model)
        return _fitted(model, contract, add_softmax=add_softmax)


def _fitted(model: onnx.ModelProto, contract: Contract, *, add_softmax: bool) -> bytes:
    graph = model.graph
    held = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in held]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise PackageError(
            f"the ONNX file has {len(inputs)} inputs and {len(graph.output)} outputs; one each is needed"
        )
    _check_shape(inputs[0], contract)
    _check_answer(graph.output[0], contract)
    if add_softmax:
        axes = 4 if contract.kind == "segmentation" else 2
        answer = _free_name(graph)
        graph.node.extend(_softmax(graph.output[0].name, answer, axes=axes, opset=_opset(model)))
        graph.output[0].name = answer
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
    with _translated():
        tensors: dict[str, NDArray[np.generic]] = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        for node in graph.node:  # some exporters write weights as constants
            if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
                tensors[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    floats = {name: np.ascontiguousarray(array) for name, array in tensors.items() if array.dtype.kind == "f"}
    if not floats:
        raise PackageError("the ONNX file holds no floating-point weights, so it is no network; export it with them")
    return save(floats)


@contextmanager
def _translated() -> Iterator[None]:
    """Besides onnx's own: names that are not UTF-8, tensors of another size than they say, types that are none."""
    try:
        yield
    except (DecodeError, checker.ValidationError, ValueError, KeyError) as exc:
        raise PackageError(f"the ONNX file is not valid: {in_a_line(exc)}; export it again") from exc


def in_a_line(exc: BaseException) -> str:
    """An error of somebody else's code for a sentence of ours; it may have no text, or many lines."""
    return f"{type(exc).__name__}: {str(exc).strip()}".splitlines()[0].removesuffix(": ")


def _softmax(logits: str, answer: str, *, axes: int, opset: int) -> list[onnx.NodeProto]:
    """Over the classes, axis 1. Before opset 13 Softmax took all axes from its own on as one, so pixels go before it.

    Source: https://github.com/onnx/onnx/blob/v1.18.0/docs/Changelog.md#Softmax-11
    """
    if opset >= 13 or axes == 2:
        return [helper.make_node("Softmax", [logits], [answer], axis=1)]
    last, shares = f"{answer}_last", f"{answer}_shares"
    return [
        helper.make_node("Transpose", [logits], [last], perm=[0, 2, 3, 1]),  # (N, K, h, w) -> (N, h, w, K)
        helper.make_node("Softmax", [last], [shares], axis=3),
        helper.make_node("Transpose", [shares], [answer], perm=[0, 3, 1, 2]),  # (N, h, w, K) -> (N, K, h, w)
    ]


def _free_name(graph: onnx.GraphProto) -> str:
    """For the answer, which the graph's own names may have taken."""
    taken = {name for node in graph.node for name in node.output} | {tensor.name for tensor in graph.initializer}
    name = _ANSWER
    while any(other.startswith(name) for other in taken):
        name += "_"
    return name


def _opset(model: onnx.ModelProto) -> int:
    return max((used.version for used in model.opset_import), default=1)


def _check_answer(value: onnx.ValueInfoProto, contract: Contract) -> None:
    """(N, K), or (N, K, h, w) of a segmentation: what is stated must be so, and the rest is tried later."""
    stated = [max(dim.dim_value, 0) for dim in value.type.tensor_type.shape.dim]  # 0: free; some write -1
    pixels = [contract.chip_px] * 2 if contract.kind == "segmentation" else []
    wanted = [0, len(contract.classes), *pixels]
    pairs = zip(stated[1:], wanted[1:], strict=False)
    fits = len(stated) == len(wanted) and all(got in (0, want) for got, want in pairs)
    if not fits:
        raise PackageError(
            f"the ONNX file answers {_told(stated) or 'one number'}, and the contract says {_told(wanted)} (classes"
            f"{', chip_px, chip_px' if pixels else ''}); correct the contract, or export for it"
        )


def _told(sizes: list[int]) -> str:
    return "x".join(str(size) if size else "n" for size in sizes)


def _check_shape(value: onnx.ValueInfoProto, contract: Contract) -> None:
    """(N, C, h, w): stated sizes must be the contract's, free ones are tried later."""
    dims = value.type.tensor_type.shape.dim
    stated = [dim.dim_value for dim in dims]  # 0: free
    wanted = [0, len(contract.bands), contract.chip_px, contract.chip_px]
    fits = len(dims) == 4 and all(got in (0, want) for got, want in zip(stated[1:], wanted[1:], strict=True))
    if not fits or value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        kind = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
        raise PackageError(
            f"the ONNX file takes {kind} {_told(stated)}, and the contract says float32 {_told(wanted)} "
            "(bands, chip_px, chip_px); correct the contract, or export for it"
        )
