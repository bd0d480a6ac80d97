"""A small residual network that names a whole chip: 3x3 convolutions over four scales."""

import torch
from torch import Tensor, nn


class TileNet(nn.Module):
    """Logits of `classes` for chips of `bands` normalised bands; any height and width from 32 pixels on.

    Average and maximum over the chip are both kept: fields and forests show in the one, a road or a river that
    crosses a corner in the other.

    Source: the residual block of He et al. 2015, https://arxiv.org/abs/1512.03385, with a stride 2 stem in place of
    its 7x7 layer and pooling, which would throw away most of a 64 pixel chip.
    """

    def __init__(self, *, bands: int, classes: int, width: int = 32, blocks: tuple[int, ...] = (1, 1, 2, 1)) -> None:
        """`width` channels on the first scale, doubled on each next; `blocks` residual blocks per scale."""
        super().__init__()
        layers: list[nn.Module] = [_layer(bands, width // 2, stride=2), _layer(width // 2, width)]
        for scale, count in enumerate(blocks):
            channels = width * 2**scale
            if scale > 0:
                layers.append(_layer(channels // 2, channels, stride=2))
            layers += [_Residual(channels) for _ in range(count)]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(2 * channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, bands, H, W) -> logits (N, classes)."""
        maps = self.features(x)  # (N, 8w, H/16, W/16) with four scales
        seen = torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)  # (N, 16w)
        logits: Tensor = self.head(seen)  # (N, classes)
        return logits


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(_layer(channels, channels), _layer(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> the same shape."""
        return x + self.layers(x)  # type: ignore[no-any-return]  # nn.Module's call is not typed


def _layer(bands_in: int, bands_out: int, *, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution, normalised over the batch."""
    return nn.Sequential(
        nn.Conv2d(bands_in, bands_out, kernel_size=3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(bands_out),
        nn.ReLU(inplace=True),
    )
