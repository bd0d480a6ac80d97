"""ResNet-18 on one page, with seeded random weights: speed does not depend on what was learned."""

import torch
from torch import Tensor, nn

BANDS, CLASSES = 3, 10


class ResNet18(nn.Module):
    """Logits of 10 classes; 11.2 million parameters, 1.8 GFLOP at 224 px as in the paper.

    Source: He et al. 2015, table 1 and figure 5, https://arxiv.org/abs/1512.03385.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(BANDS, 64, 7, stride=2, padding=3, bias=False),
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
