"""ResNet-18 on one page, and a classification package of it with seeded random weights: speed does not read minds."""

from pathlib import Path

import torch
from torch import Tensor, nn

from services.core.model.contract import Contract, ModelClass
from services.core.model.mlm import ModelFacts, build_item
from services.core.model.package import ModelPackage, save_package
from services.core.product.manifest import canonical_json
from services.training.export import onnx_bytes, weights_bytes

BANDS = ("red", "green", "blue")
CLASSES = 10
CHIP_PX = 256
#: Of the stored numbers of the bench's scenes, roughly; only finite activations matter here.
MEAN, STD = {"uint16": 2500.0, "uint8": 90.0}, {"uint16": 1500.0, "uint8": 60.0}


class ResNet18(nn.Module):
    """Logits of 10 classes; 11.2 million parameters, 1.8 GFLOP at 224 px as in the paper.

    Source: He et al. 2015, table 1 and figure 5, https://arxiv.org/abs/1512.03385.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(len(BANDS), 64, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.stages = nn.Sequential(*(_stage(*widths) for widths in ((64, 64), (64, 128), (128, 256), (256, 512))))
        self.head = nn.Linear(512, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(self.stem(x))  # (N, 3, H, W) -> (N, 64, H/4, W/4) -> (N, 512, H/32, W/32)
        logits: Tensor = self.head(x.mean(dim=(2, 3)))  # (N, 512) -> (N, 10)
        return logits


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut; a 1x1 convolution on the shortcut where width or size changes."""

    def __init__(self, wide_in: int, wide_out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(wide_in, wide_out, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(wide_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(wide_out, wide_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(wide_out),
        )
        same = stride == 1 and wide_in == wide_out
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(wide_in, wide_out, 1, stride=stride, bias=False), nn.BatchNorm2d(wide_out))
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def _stage(wide_in: int, wide_out: int) -> nn.Sequential:
    return nn.Sequential(
        Block(wide_in, wide_out, 1 if wide_in == wide_out else 2),
        Block(wide_out, wide_out, 1),
    )


def seeded_resnet18(seed: int = 18) -> ResNet18:
    """The same weights every time, in evaluation mode."""
    torch.manual_seed(seed)
    return ResNet18().eval()


def make_resnet_package(folder: Path, dtype: str) -> ModelPackage:
    """A package for uint16 or uint8 scenes, with bf16 allowed: the bench compares speeds, it draws no map."""
    contract = Contract(
        name=f"bench-resnet18-{dtype}",
        kind="classification",
        bands=BANDS,
        units="dn",
        dtypes=(dtype,),
        mean=(MEAN[dtype],) * 3,
        std=(STD[dtype],) * 3,
        chip_px=CHIP_PX,
        stride_px=CHIP_PX,
        classes=classes(CLASSES),
    )
    return save_network(folder, contract, seeded_resnet18())


def classes(count: int) -> tuple[ModelClass, ...]:
    """Classes with a grey each."""
    return tuple(ModelClass(value=i, name=f"class {i}", color=f"#{i * 20 + 20:02x}" + "8080") for i in range(count))


def save_network(folder: Path, contract: Contract, network: nn.Module) -> ModelPackage:
    """Write a package that only a benchmark can love."""
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
