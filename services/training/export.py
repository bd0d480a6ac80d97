"""A trained network as the two files a package holds: safetensors, and ONNX with the softmax inside."""

import io
import warnings

import torch
from safetensors.torch import save
from torch import Tensor, nn

#: The newest that OpenVINO and ONNX Runtime both implement without fallbacks for these networks.
_OPSET = 17


def weights_bytes(network: nn.Module) -> bytes:
    """The state dict as safetensors; equal weights give equal bytes. Tied ones are kept under each of their names."""
    return save({name: tensor.contiguous().clone() for name, tensor in network.state_dict().items()})


def onnx_bytes(network: nn.Module, *, bands: int, chip_px: int, softmax: bool = True, fused: bool = True) -> bytes:
    """(N, bands, chip_px, chip_px) -> probabilities, N free; equal weights give equal bytes.

    The TorchScript exporter, because the newer one needs onnxscript and writes its own version of the module's
    source into the file; it warns of its age, which is not the caller's concern.

    `softmax` off: the network's own last layer is one. `fused` off: batch normalisation is not multiplied into the
    kernels here; libraries do that at load.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            (_WithSoftmax(network) if softmax else network).eval(),
            (torch.zeros(1, bands, chip_px, chip_px),),
            buffer,  # type: ignore[arg-type]  # this exporter takes files too; its annotation forgets them
            dynamo=False,
            training=torch.onnx.TrainingMode.EVAL if fused else torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=fused,
            opset_version=_OPSET,
            input_names=["chips"],
            output_names=["probabilities"],
            dynamic_axes={"chips": {0: "n"}, "probabilities": {0: "n"}},
        )
    return buffer.getvalue()


class _WithSoftmax(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, chips: Tensor) -> Tensor:
        return torch.softmax(self.network(chips), dim=1)
