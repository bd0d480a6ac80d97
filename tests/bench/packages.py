"""Model packages that only a benchmark can love: the real format, random weights."""

import os
from pathlib import Path

import torch
from torch import nn

from services.core.model.backends import open_backend
from services.core.model.contract import Contract, ModelClass, ModelKind
from services.core.model.mlm import ModelFacts, build_item
from services.core.model.networks.small_unet import SmallUnet
from services.core.model.package import ModelPackage, save_package
from services.core.product.manifest import canonical_json
from services.training.export import onnx_bytes, weights_bytes
from tests.bench.process import answer, told
from tests.bench.resnet import CLASSES, seeded_resnet18
from tests.bench.scenes import BANDS, MEAN, STD


def make_resnet(folder: Path, dtype: str) -> ModelPackage:
    """ResNet-18 at 256 px, one answer per tile, for scenes of uint16 or uint8."""
    return _save(folder, _contract("classification", dtype, CLASSES, stride_px=256), seeded_resnet18())


def make_unet(folder: Path, dtype: str) -> ModelPackage:
    """The U-Net of `landcover-l7` on three bands, chips of 256 px that overlap by a quarter."""
    torch.manual_seed(7)
    network = SmallUnet(bands=len(BANDS), classes=7).eval()
    return _save(folder, _contract("segmentation", dtype, 7, stride_px=192), network)


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


def _save(folder: Path, contract: Contract, network: nn.Module) -> ModelPackage:
    facts = ModelFacts(
        description="Random weights, for measuring speed.",
        architecture=type(network).__name__,
        framework_version=torch.__version__.split("+", maxsplit=1)[0],
        total_parameters=sum(p.numel() for p in network.parameters()),
        precisions=("fp32", "bf16"),
    )
    files = {
        "model.json": canonical_json(build_item(contract, facts)),
        "card.md": b"# Random weights\n\nMade by tests/bench to measure speed; its answers mean nothing.\n",
        "weights.safetensors": weights_bytes(network),
        "model.onnx": onnx_bytes(network, bands=len(contract.bands), chip_px=contract.chip_px),
    }
    return save_package(folder, files)


def main() -> None:
    """Child: make them, so that the bench itself never imports torch; say which backend they get here."""
    folder = Path(told()["folder"])
    resnet, unet = make_resnet(folder / "resnet-uint16", "uint16"), make_unet(folder / "unet-uint8", "uint8")
    # Pinned: ONNX Runtime comes within a few per cent without bf16, and a noisy choice would change what is compared.
    backend = open_backend(resnet, name="openvino", threads=len(os.sched_getaffinity(0))).id
    answer(models={"resnet-uint16": str(resnet.root), "unet-uint8": str(unet.root)}, backend=backend)


if __name__ == "__main__":
    main()
