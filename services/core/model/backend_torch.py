"""PyTorch: the reference the two fast libraries are held against; weights come from safetensors, never a pickle."""

import threading

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from services.core.errors import PackageError
from services.core.model.batching import Chips, FixedBatches, Probabilities
from services.core.model.networks.registry import build_network
from services.core.model.package import ModelPackage


class TorchBackend:
    """The network's own page with the package's weights, then a softmax.

    torch counts its threads per process, so opening this sets that count to `threads`, and calls take turns.
    """

    def __init__(self, package: ModelPackage, *, threads: int) -> None:
        """Build the network named in model.json and load its weights."""
        torch.set_num_threads(threads)
        self._network = _load_network(package)
        self._name = package.contract.name
        self._lock = threading.Lock()
        self._batches = FixedBatches(package.contract, threads=1, run=self._infer, singly=False)

    @property
    def id(self) -> str:
        """`torch:fp32`."""
        return "torch:fp32"

    def predict(self, chips: Chips) -> Probabilities:
        """See `Backend.predict`."""
        return self._batches.predict(chips)

    def _infer(self, batch: Chips) -> Probabilities:
        try:
            with self._lock, torch.inference_mode():
                answer: Probabilities = torch.softmax(self._network(torch.from_numpy(batch)), dim=1).numpy()
        except RuntimeError as exc:
            raise PackageError(f"the network of model {self._name} does not take its contract's chips") from exc
        return answer


def _load_network(package: ModelPackage) -> nn.Module:
    told = package.network
    network = build_network(str(told.get("name")), told.get("arguments", {}))
    try:
        network.load_state_dict(load(package.read("weights.safetensors")))
    except (SafetensorError, RuntimeError) as exc:
        raise PackageError(
            f"the weights of model {package.contract.name} do not fit network {told.get('name')}"
        ) from exc
    return network.eval()
