"""An ONNX file of somebody's own, made fit for a package: its softmax is right at every pixel, whatever its opset."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from services.core.errors import PackageError
from services.core.model.backends import Library, open_backend
from services.core.model.contract import Contract
from services.core.model.parity import fixed_chips
from services.training.byo import pack_onnx
from services.training.byo_contract import Declaration
from services.training.byo_onnx import fit_onnx, weights_of_onnx
from tests.models import make_contract

KERNEL = np.random.default_rng(2).standard_normal((3, 2, 1, 1), np.float32)
SEEN = ["n", 2, 32, 32]
PIXELS = make_contract()


def graph(*, opset: int = 17, answer: list[int | str] | None = None) -> onnx.ModelProto:
    """A class per pixel from two bands, as logits."""
    shape = ["n", 3, 32, 32] if answer is None else answer
    conv = helper.make_node("Conv", ["x", "kernel"], ["y"])
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", SEEN), ("y", shape)))
    made = helper.make_graph([conv], "g", [x], [y], [numpy_helper.from_array(KERNEL, "kernel")])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def pixel_shares(contract: Contract) -> np.ndarray:
    """(N, K, h, w): the softmax over the classes of each pixel."""
    logits = np.einsum("kc,nchw->nkhw", KERNEL[:, :, 0, 0], fixed_chips(contract))
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("library", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("opset", [9, 11, 12, 13, 17])
def test_probabilities_are_right_at_each_pixel_in_every_opset(tmp_path: Path, opset: int, library: Library) -> None:
    onnx.save(graph(opset=opset), tmp_path / "net.onnx")
    declared = Declaration(contract=PIXELS, answers="logits", description="d", architecture="a", license="MIT")

    package, _ = pack_onnx(tmp_path / "net.onnx", declared, out=tmp_path / "package", card=None)

    answers = open_backend(package, name=library, precision="fp32").predict(fixed_chips(PIXELS))
    np.testing.assert_allclose(answers, pixel_shares(PIXELS), atol=1e-5)


@pytest.mark.parametrize("opset", [12, 13])
def test_a_graph_may_use_the_name_that_its_softmax_would_have(tmp_path: Path, opset: int) -> None:
    model = graph(opset=opset)
    model.graph.node[0].output[0] = model.graph.output[0].name = "swath_probabilities"
    onnx.save(model, tmp_path / "net.onnx")
    declared = Declaration(contract=PIXELS, answers="logits", description="d", architecture="a", license="MIT")

    package, _ = pack_onnx(tmp_path / "net.onnx", declared, out=tmp_path / "package", card=None)

    answers = open_backend(package, name="onnxruntime").predict(fixed_chips(PIXELS))
    np.testing.assert_allclose(answers, pixel_shares(PIXELS), atol=1e-5)


@pytest.mark.parametrize(
    ("answer", "told"),
    [([], "one number"), (["n", 3], "nx3"), (["n", 7, 32, 32], "nx7x32x32"), (["n", 3, 16, 16], "nx3x16x16")],
)
def test_an_answer_of_another_shape_than_the_contracts_is_named(answer: list[int | str], told: str) -> None:
    with pytest.raises(PackageError, match=rf"answers {told}, and the contract says nx3x32x32 \(classes, chip_px"):
        fit_onnx(graph(answer=answer).SerializeToString(), PIXELS, add_softmax=True)


def test_an_answer_of_no_stated_shape_is_refused() -> None:
    model = graph()
    model.graph.output[0].type.tensor_type.ClearField("shape")
    with pytest.raises(PackageError, match="Field 'shape' of 'type' is required"):
        fit_onnx(model.SerializeToString(), PIXELS, add_softmax=True)


def test_a_name_that_is_no_text_is_refused() -> None:
    body = graph().SerializeToString().replace(b"Conv", b"Co\xff\xfe")
    with pytest.raises(PackageError, match="the ONNX file is not valid: UnicodeDecodeError"):
        fit_onnx(body, PIXELS, add_softmax=True)


def test_weights_of_another_size_than_they_say_are_refused() -> None:
    model = graph()
    model.graph.initializer[0].dims[0] = 5
    with pytest.raises(PackageError, match="the ONNX file is not valid: ValueError"):
        weights_of_onnx(model.SerializeToString())
