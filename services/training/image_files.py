"""A trained classifier as files of a package: what it promises, its weights and its graph."""

import torch
from torch import nn

from services.core.model.contract import Contract
from services.core.model.mlm import ModelFacts, build_item
from services.training.classification import NETWORK, network_arguments
from services.training.export import onnx_bytes
from services.training.figures import json_bytes
from services.training.half import half_onnx, half_weights_bytes
from services.training.image_recipe import ImageRecipe


def model_json(network: nn.Module, contract: Contract, recipe: ImageRecipe, precisions: tuple[str, ...]) -> bytes:
    """The contract and what other catalogs want to know."""
    facts = ModelFacts(
        description=f"{len(contract.classes)} classes of land use. {recipe.data}",
        architecture="ResNet",
        framework_version=torch.__version__,
        total_parameters=sum(weights.numel() for weights in network.parameters()),
        interval=recipe.interval,
        network={"name": NETWORK, "arguments": network_arguments(recipe)},
        precisions=precisions,
        license=recipe.license,
    )
    return json_bytes(build_item(contract, facts))


def network_files(network: nn.Module, contract: Contract) -> dict[str, bytes]:
    """Weights and graph, exact after `round_to_half`."""
    plain = network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # torch's stub
    return {
        "weights.safetensors": half_weights_bytes(plain),
        "model.onnx": half_onnx(onnx_bytes(plain, bands=len(contract.bands), chip_px=contract.chip_px, fused=False)),
    }
