"""What a package may never carry: code, pickles, links, strangers, giants, and graphs that do more than arithmetic."""

import os
import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from services.core.errors import PackageError
from services.core.model.package import load_package
from services.core.model.weights_check import check_onnx, check_safetensors
from tests.models import make_package, network_files


def graph(*nodes: onnx.NodeProto, initializers: tuple[onnx.TensorProto, ...] = ()) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    return helper.make_model(helper.make_graph(list(nodes), "g", [x], [y], list(initializers)))


@pytest.mark.parametrize(
    "name",
    [
        "weights.pt",
        "weights.bin",
        "model.pkl",
        "setup.py",
        "model.onnx.data",
        ".hidden",
        "figures/a.svg",
        "sub/card.md",
    ],
)
def test_a_file_that_is_not_on_the_list_is_refused(tmp_path: Path, name: str) -> None:
    root = make_package(tmp_path / "tiny").root
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_bytes(b"x")
    with pytest.raises(PackageError, match="may not be in"):
        load_package(root)


def test_a_pickle_under_an_allowed_name_is_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    for name in ("weights.safetensors", "model.onnx"):
        with pytest.raises(PackageError):
            make_package(tmp_path / "tiny", network_files() | {name: pickle.dumps(Trap())})
    assert not (tmp_path / "sprung").exists()


def test_a_link_is_refused_even_to_a_file_that_would_do(tmp_path: Path) -> None:
    root = make_package(tmp_path / "tiny").root
    (root / "card.md").rename(tmp_path / "card.md")
    (root / "card.md").symlink_to(tmp_path / "card.md")
    with pytest.raises(PackageError, match="plain file"):
        load_package(root)


def test_a_linked_folder_of_figures_is_refused(tmp_path: Path) -> None:
    root = make_package(tmp_path / "tiny").root
    (root / "figures").symlink_to(tmp_path)
    with pytest.raises(PackageError):
        load_package(root)


def test_a_giant_is_refused_before_it_is_read(tmp_path: Path) -> None:
    root = make_package(tmp_path / "tiny").root
    with (root / "weights.safetensors").open("r+b") as file:
        file.truncate(2**31)  # sparse: takes no room, and reading it would take 2 GiB
    with pytest.raises(PackageError, match="allowed"):
        load_package(root)


@pytest.mark.parametrize("name", ["model.json", "card.md", "weights.safetensors", "model.onnx"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    files = network_files()
    del files[name]
    with pytest.raises(PackageError, match=name):
        make_package(tmp_path / "tiny", files)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"nul\xff", b'{"a": NaN}', b"[" * 100_000])
def test_a_model_json_that_is_no_item_is_refused(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(PackageError, match="model"):
        make_package(tmp_path / "tiny", network_files() | {"model.json": body})


def test_the_exported_graph_passes() -> None:
    check_onnx(network_files()["model.onnx"])


def test_operators_of_another_domain_are_refused() -> None:
    model = graph(helper.make_node("Run", ["x"], ["y"], domain="com.example"))
    with pytest.raises(PackageError, match=r"com\.example"):
        check_onnx(model.SerializeToString())


def test_a_foreign_operator_set_is_refused_even_unused() -> None:
    model = graph(helper.make_node("Relu", ["x"], ["y"]))
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    with pytest.raises(PackageError, match=r"ai\.onnx\.ml"):
        check_onnx(model.SerializeToString())


def external(value: float) -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.array([value], np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def test_weights_in_another_file_are_refused() -> None:
    model = graph(helper.make_node("Add", ["x", "w"], ["y"]), initializers=(external(1.0),))
    with pytest.raises(PackageError, match="another file"):
        check_onnx(model.SerializeToString())


def test_a_constant_in_another_file_is_refused() -> None:
    model = graph(helper.make_node("Constant", [], ["y"], value=external(1.0)))
    with pytest.raises(PackageError, match="another file"):
        check_onnx(model.SerializeToString())


@pytest.mark.parametrize("operator", ["RandomNormalLike", "Bernoulli", "Multinomial"])
def test_random_numbers_are_refused(operator: str) -> None:
    model = graph(helper.make_node(operator, ["x"], ["y"]))
    with pytest.raises(PackageError, match=f"draws random numbers .{operator}."):
        check_onnx(model.SerializeToString())


def test_control_flow_is_refused() -> None:
    body = graph(helper.make_node("Relu", ["x"], ["y"])).graph
    model = graph(helper.make_node("If", ["x"], ["y"], then_branch=body, else_branch=body))
    with pytest.raises(PackageError, match="control flow"):
        check_onnx(model.SerializeToString())


def test_functions_are_refused() -> None:
    model = graph(helper.make_node("Relu", ["x"], ["y"]))
    model.functions.append(helper.make_function("", "Twice", ["a"], ["b"], [], []))
    with pytest.raises(PackageError, match="functions"):
        check_onnx(model.SerializeToString())


def varint(value: int, *, length: int = 1) -> bytes:
    """Padded to `length` bytes, as no writer would."""
    groups = [value >> shift & 0x7F for shift in range(0, max(7 * length, value.bit_length(), 1), 7)]
    return bytes(group | 0x80 for group in groups[:-1]) + bytes(groups[-1:])


def field(number: int, body: bytes, *, hidden: int = 0, length: int = 1) -> bytes:
    return varint(number << 3 | 2 | hidden, length=length) + varint(len(body)) + body


#: data_location = EXTERNAL of a tensor, by a key with a bit that protobuf's C++ library drops.
EXTERNAL_HIDDEN = varint(14 << 3 | 1 << 33) + varint(1)


@pytest.mark.parametrize(
    "tensor",
    [
        EXTERNAL_HIDDEN,
        field(13, b"", hidden=1 << 32),
        field(8, b"w", length=2),
        field(8, b"w", length=6),
        varint(1 << 3 | 0) + varint(1, length=11),
        varint(1 << 3 | 0) + varint(2**64),
        varint(8 << 3 | 2) + varint(1, length=6) + b"w",
        varint(0 << 3 | 2) + varint(0),
        b"\0",
        varint(8 << 3 | 3) + varint(8 << 3 | 4),
        varint(8 << 3 | 6),
        varint(8 << 3 | 7),
    ],
    ids=[
        *("key over 32 bits", "size over 32 bits", "padded key", "key of 6 bytes", "number of 11 bytes"),
        *("number over 64 bits", "size of 6 bytes", "field 0", "tag 0", "group", "wire type 6", "wire type 7"),
    ],
)
def test_bytes_that_two_readers_would_read_differently_are_refused(tensor: bytes) -> None:
    with pytest.raises(PackageError, match=r"model\.onnx is damaged: not a protobuf message"):
        check_onnx(field(7, field(5, tensor)))


@pytest.mark.parametrize(("kind", "size"), [(5, 4), (1, 8)], ids=["32 bits", "64 bits"])
def test_a_number_where_a_graph_belongs_is_no_graph(kind: int, size: int) -> None:
    with pytest.raises(PackageError, match="a number where a message belongs"):
        check_onnx(varint(7 << 3 | kind) + bytes(size))


def test_a_message_in_two_parts_hides_nothing_in_either() -> None:
    hidden = helper.make_node("Constant", [], ["y"], value=external(1.0)).attribute[0]
    plain = helper.make_attribute("value", numpy_helper.from_array(np.ones(1, np.float32)))
    node = field(5, plain.SerializeToString() + hidden.SerializeToString())
    with pytest.raises(PackageError, match="another file"):
        check_onnx(field(7, field(1, node)))
    with pytest.raises(PackageError, match="not an ONNX model"):
        check_onnx(field(7, b"") + field(7, b""))


def test_every_cut_of_a_graph_is_refused_or_sound() -> None:
    body = network_files()["model.onnx"]
    for end in range(1, len(body), 997):
        with pytest.raises(PackageError):
            check_onnx(body[:end])


def test_damaged_safetensors_are_refused() -> None:
    body = network_files()["weights.safetensors"]
    for damaged in (b"", body[:-1], b"\xff" * 8 + body[8:], body.replace(b"F32", b"Q32", 1)):
        with pytest.raises(PackageError, match="damaged"):
            check_safetensors(damaged)
