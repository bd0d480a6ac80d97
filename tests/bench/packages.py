"""Model packages that only a benchmark can love: the real format, random weights."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from services.core.model.backends import open_backend
from services.core.model.contract import Contract, ModelClass, ModelKind
from services.core.model.mlm import ModelFacts, build_item
from services.core.model.networks.registry import build_network
from services.core.model.networks.small_unet import SmallUnet
from services.core.model.package import INT8_GRAPH, ModelPackage, shipped_names, shipped_package
from services.core.model.package_save import save_package
from services.core.product.manifest import canonical_json
from services.training.export import onnx_bytes, weights_bytes
from services.training.quantise import int8_onnx
from tests.bench.process import answer, told
from tests.bench.resnet import CLASSES, seeded_resnet18
from tests.bench.scenes import BANDS, MEAN, STD

#: Images that the int8 ranges are read from; speed does not depend on them.
_CALIBRATION = 16


def make_resnet(folder: Path, dtype: str) -> ModelPackage:
    """ResNet-18 at 256 px, one answer per tile, for scenes of uint16 or uint8; with an int8 graph beside."""
    return _save(folder, _contract("classification", dtype, CLASSES, stride_px=256), seeded_resnet18(), int8=True)


def make_unet(folder: Path, dtype: str) -> ModelPackage:
    """The U-Net of `landcover-l7` on three bands, chips of 256 px that overlap by a quarter."""
    torch.manual_seed(7)
    network = SmallUnet(bands=len(BANDS), classes=7).eval()
    return _save(folder, _contract("segmentation", dtype, 7, stride_px=192), network)


def make_tiles(folder: Path) -> ModelPackage:
    """The network of `eurosat-rgb`, for pictures of 64 px: stands in where that is not shipped."""
    torch.manual_seed(7)
    arguments = {"bands": len(BANDS), "classes": 10}
    network = build_network("tile-net", arguments).eval()
    contract = _contract("classification", "uint8", 10, stride_px=64).model_copy(update={"chip_px": 64})
    return _save(folder, contract, network, told={"name": "tile-net", "arguments": arguments})


def _contract(kind: ModelKind, dtype: str, classes: int, *, stride_px: int) -> Contract:
    return Contract(
        name=f"bench-{kind}-{dtype}",
        kind=kind,
        bands=BANDS,
        units="dn",
        dtypes=(dtype,),
        mean=(MEAN[dtype],) * 3,
        std=(STD[dtype],) * 3,
        chip_px=256,
        stride_px=stride_px,
        classes=tuple(ModelClass(value=i, name=f"class {i}", color=f"#{20 * i + 20:02x}8080") for i in range(classes)),
    )


def _save(
    folder: Path,
    contract: Contract,
    network: nn.Module,
    *,
    told: Mapping[str, Any] | None = None,
    int8: bool = False,
) -> ModelPackage:
    facts = ModelFacts(
        description="Random weights, for measuring speed.",
        architecture=type(network).__name__,
        framework_version=torch.__version__.split("+", maxsplit=1)[0],
        total_parameters=sum(p.numel() for p in network.parameters()),
        precisions=("fp32", "bf16", "int8") if int8 else ("fp32", "bf16"),
        network=dict(told or {}),
    )
    files = {
        "model.json": canonical_json(build_item(contract, facts)),
        "card.md": b"# Random weights\n\nMade by tests/bench to measure speed; its answers mean nothing.\n",
        "weights.safetensors": weights_bytes(network),
        "model.onnx": onnx_bytes(network, bands=len(contract.bands), chip_px=contract.chip_px),
    }
    if int8:
        shape = (_CALIBRATION, len(contract.bands), contract.chip_px, contract.chip_px)
        noise = np.random.default_rng(8).standard_normal(shape, np.float32)
        files[INT8_GRAPH] = int8_onnx(files["model.onnx"], noise, slow_bias=False)
    return save_package(folder, files)


def main() -> None:
    """Child: make them, so that the bench itself never imports torch; say which backend they get here."""
    folder = Path(told()["folder"])
    resnet, unet = make_resnet(folder / "resnet-uint16", "uint16"), make_unet(folder / "unet-uint8", "uint8")
    tiles = shipped_package("eurosat-rgb") if "eurosat-rgb" in shipped_names() else make_tiles(folder / "tiles")
    # Pinned: ONNX Runtime comes within a few per cent without bf16, and a noisy choice would change what is compared.
    backend = open_backend(unet, name="openvino", threads=len(os.sched_getaffinity(0))).id
    answer(
        models={"resnet-uint16": str(resnet.root), "unet-uint8": str(unet.root), "tiles": str(tiles.root)},
        backend=backend,
    )


if __name__ == "__main__":
    main()
