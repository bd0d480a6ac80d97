"""A U-Net small enough to train in minutes on two cores: three levels, batch normalisation, nearest upsampling."""

import torch
from torch import Tensor, nn

#: Furthest input pixel that can change an output pixel, in pixels: 2 convolutions (1 px each) on levels 1 and 2 on the
#: way down and up, and 2 on level 3: (2 + 2) * 1 + (2 + 2) * 2 + 2 * 4, and up to 3 of pooling's alignment.
RECEPTIVE_RADIUS_PX = 23


class SmallUnet(nn.Module):
    """Logits of `classes` per pixel of `bands` normalised bands; height and width must be multiples of 4.

    Source: Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597, with padding and fewer levels.
    """

    def __init__(self, *, bands: int, classes: int, width: int = 16) -> None:
        """`width` channels on the first level, doubled on each next."""
        super().__init__()
        self.down1 = _block(bands, width)
        self.down2 = _block(width, 2 * width)
        self.bottom = _block(2 * width, 4 * width)
        self.up2 = _block(6 * width, 2 * width)
        self.up1 = _block(3 * width, width)
        self.head = nn.Conv2d(width, classes, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, bands, H, W) -> logits (N, classes, H, W)."""
        fine = self.down1(x)  # (N, w, H, W)
        middle = self.down2(torch.max_pool2d(fine, 2))  # (N, 2w, H/2, W/2)
        coarse = self.bottom(torch.max_pool2d(middle, 2))  # (N, 4w, H/4, W/4)
        middle = self.up2(torch.cat([middle, _double(coarse)], dim=1))  # (N, 2w + 4w -> 2w, H/2, W/2)
        fine = self.up1(torch.cat([fine, _double(middle)], dim=1))  # (N, w + 2w -> w, H, W)
        logits: Tensor = self.head(fine)  # (N, classes, H, W)
        return logits


def _block(bands_in: int, bands_out: int) -> nn.Sequential:
    """Two 3x3 convolutions that keep the size."""
    layers: list[nn.Module] = []
    for bands in (bands_in, bands_out):
        layers += [
            nn.Conv2d(bands, bands_out, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(bands_out),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


def _double(x: Tensor) -> Tensor:
    return nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
