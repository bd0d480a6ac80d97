"""Kernels stored in 16 bits and computed with in 32: half the bytes, the same answers from all files of a package."""

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import save
from torch import nn

#: Tensors of fewer numbers than this stay as they are: halving them saves nothing.
_SMALL = 1024


def round_to_half(network: nn.Module) -> None:
    """Round all kernels, in place, to what 16 bit floats can hold.

    Normalisation and biases stay as they are: few numbers, of any size.
    """
    with torch.no_grad():
        for weights in network.parameters():
            if weights.ndim > 1:
                weights.copy_(weights.half().float())


def half_weights_bytes(network: nn.Module) -> bytes:
    """The state dict as safetensors, kernels in float16; exact after `round_to_half`."""
    kernels = {name for name, weights in network.named_parameters() if weights.ndim > 1}
    state = network.state_dict()
    return save({name: (x.half() if name in kernels else x).contiguous() for name, x in state.items()})


def half_onnx(graph: bytes) -> bytes:
    """The same graph with large initialisers in float16 and a cast to float32, which libraries do once, at load.

    Exact after `round_to_half`, if no normalisation was multiplied into the kernels since.
    """
    model = onnx.load_from_string(graph)
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _SMALL:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    body: bytes = model.SerializeToString()
    return body
