"""Augmentation for images seen from above: no way is up, and a label does not move when the frame moves a little."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from services.training.rough import blur, compress, grain

Images = NDArray[np.uint8]  #: (N, C, H, W)


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How far a training image may stray from the one in the archive."""

    shift_px: int = 6  #: the frame moves by up to this many pixels; what comes in is mirrored
    gain: float = 0.08  #: all bands brighter or darker by up to this share: sun height and haze
    tint: float = 0.04  #: each band by up to this share more: air and sensor
    haze: float = 5.0  #: standard deviation of a grey value added to all bands, in 8 bit levels
    cut: float = 0.5  #: share of batches in which each image gets a rectangle of another one (CutMix)
    rough: float = 0.2  #: share of images that are compressed again; as many are blurred, and as many grainy


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a training step eats."""

    chips: Tensor  #: (N, C, h, w) float32, normalised, channels last in memory
    labels: Tensor  #: (N,) int64
    other: Tensor  #: (N,) int64: class of the rectangle that was pasted in
    share: float  #: of the area that is still the image's own


class Augmenter:
    """Makes batches from whole images; every number comes from one generator, so equal seeds give equal batches.

    Turning, mirroring and shifting gather pixels by row and column indices: no interpolation touches one.
    """

    def __init__(
        self, settings: Augmentation, *, mean: tuple[float, ...], std: tuple[float, ...], rng: np.random.Generator
    ) -> None:
        """`mean` and `std` per band, in 8 bit levels."""
        self._settings = settings
        self._mean = torch.tensor(mean, dtype=torch.float32)[:, None, None]
        self._std = torch.tensor(std, dtype=torch.float32)[:, None, None]
        self._rng = rng

    def batch(self, images: Images, labels: NDArray[np.int64], *, px: int, mix: bool, roughly: bool = False) -> Batch:
        """One batch.

        Args:
            images: (N, C, H, W), H equal to W.
            labels: (N,).
            px: Side of the chips to make; less than H: the image is shrunk (early epochs learn on small ones).
            mix: Whether CutMix may be used.
            roughly: Whether images may be compressed, blurred and grainy.
        """
        rough, turned = self._settings.rough, self._turned(images)
        if roughly:
            turned = compress(turned, share=rough, rng=self._rng)
        chips = self._coloured(torch.from_numpy(turned).permute(0, 3, 1, 2).float())
        if roughly:
            chips = blur(chips, share=rough, rng=self._rng)
            chips = grain(chips, self._std, share=rough, rng=self._rng)
        if px != chips.shape[-1]:
            chips = functional.interpolate(chips, size=(px, px), mode="bilinear", antialias=True)
        chips = chips.contiguous(memory_format=torch.channels_last)
        own = torch.from_numpy(labels)
        share = self._cut(chips) if mix and self._rng.random() < self._settings.cut else 1.0
        return Batch(chips=chips, labels=own, other=own.flip(0), share=share)

    def _turned(self, images: Images) -> Images:
        """(N, C, H, W) -> (N, H, W, C): one of the eight symmetries of a square, and a shift, for each image."""
        count, _, height, width = images.shape
        rows, cols = self._shifted(count, height), self._shifted(count, width)
        flips = self._rng.random((count, 3)) < 0.5
        rows = np.where(flips[:, :1], rows[:, ::-1], rows)
        cols = np.where(flips[:, 1:2], cols[:, ::-1], cols)
        turned = np.empty((count, height, width, images.shape[1]), images.dtype)
        # One by one: a gather of all at once by index arrays as large as the images takes 2.7 times as long.
        for image, row, col, swap, out in zip(images, rows, cols, flips[:, 2], turned, strict=True):
            moved = image.take(row, axis=1).take(col, axis=2)  # (C, H, W)
            out[...] = moved.transpose(2, 1, 0) if swap else moved.transpose(1, 2, 0)
        return turned

    def _shifted(self, count: int, length: int) -> NDArray[np.int64]:
        """(N, length) indices, moved by a few pixels and mirrored at the ends."""
        most = self._settings.shift_px
        at = np.abs(np.arange(length) + self._rng.integers(-most, most + 1, (count, 1)))
        mirrored: NDArray[np.int64] = np.where(at >= length, 2 * length - 2 - at, at)
        return mirrored

    def _coloured(self, chips: Tensor) -> Tensor:
        """8 bit levels (N, C, H, W) -> normalised, a little brighter, darker, tinted or hazier."""
        settings, count, bands = self._settings, chips.shape[0], chips.shape[1]
        gain = 1 + self._rng.uniform(-settings.gain, settings.gain, (count, 1, 1, 1))
        tint = 1 + self._rng.uniform(-settings.tint, settings.tint, (count, bands, 1, 1))
        haze = self._rng.normal(0.0, settings.haze, (count, 1, 1, 1))
        centred = (chips - self._mean) * torch.from_numpy((gain * tint).astype(np.float32))
        return (centred + torch.from_numpy(haze.astype(np.float32))) / self._std

    def _cut(self, chips: Tensor) -> float:
        """Paste one rectangle from the batch in reverse order, in place; the share of area left."""
        px = chips.shape[-1]
        half = int(px * np.sqrt(self._rng.random()) / 2)
        row, col = self._rng.integers(0, px, 2)
        top, bottom = max(row - half, 0), min(row + half, px)
        left, right = max(col - half, 0), min(col + half, px)
        chips[:, :, top:bottom, left:right] = chips.flip(0)[:, :, top:bottom, left:right]
        return 1.0 - float((bottom - top) * (right - left)) / px**2
