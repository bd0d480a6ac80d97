"""Refuse weights that could do more than arithmetic, without loading them into an inference library.

ONNX is walked on the protobuf wire, so that the catalog and the API can check a package where no onnx library is
installed, and so that nothing in the file is acted upon before it was looked at.

Protobuf libraries do not agree on bytes that no writer makes: some drop the bits of a field's key that do not fit, some
end a message at field 0, some skip groups. A second reading of a file would be a hole in this one, so all of that is
refused. A message given twice is merged by them; that hides nothing, as every check here is of one field alone.

Source: field numbers from onnx.proto3, https://github.com/onnx/onnx/blob/v1.18.0/onnx/onnx.proto3; wire types from
https://protobuf.dev/programming-guides/encoding/.
"""

from collections.abc import Iterator

from safetensors import SafetensorError, deserialize

from services.core.errors import PackageError

_STANDARD = (b"", b"ai.onnx")
_RANDOM = {b"RandomNormal", b"RandomNormalLike", b"RandomUniform", b"RandomUniformLike", b"Multinomial", b"Bernoulli"}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIZES = {_FIXED64: 8, _FIXED32: 4}
_DAMAGED = "model.onnx is damaged: not a protobuf message"

_Field = tuple[int, int | memoryview]


def check_safetensors(body: bytes) -> None:
    """Raise unless header and tensor ranges are those of a sound safetensors file.

    Raises:
        PackageError: They are not.
    """
    try:
        tensors = deserialize(body)  # type: ignore[no-untyped-call]  # safetensors' stub lacks it
    except SafetensorError as exc:
        raise PackageError(f"weights.safetensors is damaged: {exc}") from exc
    if not tensors:
        raise PackageError("weights.safetensors holds no tensor")


def check_onnx(body: bytes) -> None:
    """Raise unless the graph stands alone: standard operators, no functions or control flow, no external data.

    Raises:
        PackageError: It does not, or is no ONNX model.
    """
    graphs = 0
    for field, value in _fields(memoryview(body)):
        if field == 7:  # graph
            graphs += 1
            _check_graph(_message(value))
        elif field == 8:  # opset_import: OperatorSetIdProto.domain = 1
            for number, domain in _fields(_message(value)):
                if number == 1:
                    _check_domain(_message(domain))
        elif field in {20, 25}:  # training_info, functions
            raise PackageError("model.onnx holds functions or a training graph; export the inference graph alone")
    if graphs != 1:
        raise PackageError("model.onnx is not an ONNX model")


def _check_graph(graph: memoryview) -> None:
    for field, value in _fields(graph):
        if field == 1:  # node
            _check_node(_message(value))
        elif field == 5:  # initializer
            _check_tensor(_message(value))
        elif field == 15:  # sparse_initializer
            raise PackageError("model.onnx holds sparse weights; export them dense")


def _check_node(node: memoryview) -> None:
    for field, value in _fields(node):
        if field == 7:  # domain
            _check_domain(_message(value))
        elif field == 4 and (name := bytes(_message(value))) in _RANDOM:  # op_type
            raise PackageError(f"model.onnx draws random numbers ({name.decode()}), so no answer would come twice")
        elif field == 5:  # attribute
            for number, inner in _fields(_message(value)):
                if number in {5, 10}:  # t, tensors
                    _check_tensor(_message(inner))
                elif number in {6, 11, 22, 23}:  # g, graphs, sparse_tensor(s)
                    raise PackageError("model.onnx holds control flow or sparse constants, which Swath does not run")


def _check_tensor(tensor: memoryview) -> None:
    for field, value in _fields(tensor):
        if field == 13 or (field == 14 and value != 0):  # external_data, data_location
            raise PackageError("model.onnx keeps weights in another file; export it with the weights inside")


def _check_domain(domain: memoryview) -> None:
    if bytes(domain) not in _STANDARD:
        raise PackageError(f"model.onnx uses operators of {bytes(domain)[:64]!r}; only standard ONNX operators are run")


def _fields(data: memoryview) -> Iterator[_Field]:
    """(field number, value) of one protobuf message; bytes stay views, nothing is copied."""
    at = 0
    while at < len(data):
        number, kind, at = _key(data, at)
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        size, at = _uint32(data, at) if kind == _BYTES else (_SIZES[kind], at)
        if at + size > len(data):
            raise PackageError("model.onnx is cut short")
        body = data[at : at + size]
        yield number, body if kind == _BYTES else int.from_bytes(body, "little")
        at += size


def _key(data: memoryview, at: int) -> tuple[int, int, int]:
    """(field number, wire type, where its value begins), of a key in the one form that every library reads alike."""
    key, end = _uint32(data, at)
    number, kind = key >> 3, key & 7
    padded = end - at > 1 and data[end - 1] == 0
    if padded or number == 0 or kind not in {_VARINT, _BYTES, *_SIZES}:
        raise PackageError(_DAMAGED)
    return number, kind, end


def _uint32(data: memoryview, at: int) -> tuple[int, int]:
    """A key or a size: others take 5 bytes for it at most, and may drop bits above the 32nd."""
    value, end = _varint(data, at)
    if end - at > 5 or value >= 2**32:
        raise PackageError(_DAMAGED)
    return value, end


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise PackageError("model.onnx is cut short")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80 and value < 2**64:
            return value, at
    raise PackageError(_DAMAGED)


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise PackageError("model.onnx is damaged: a number where a message belongs")
    return value
