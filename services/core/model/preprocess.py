"""Stored numbers to what the network eats: one function for training, batch and online."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from services.core.model.contract import MAX_LEVEL, Contract
from services.core.records import Band

Pixels = NDArray[np.float32]
Valid = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Drawing:
    """Per-band line from stored numbers to whole levels of a picture, cut off at `low` and `high`."""

    gain: tuple[float, ...]
    bias: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Per-band line `y = x * gain + bias`: scale, offset, mean and std of one scene and model in one step.

    Where the contract renders, `drawing` comes first, and rounds; else everything is that one line.
    """

    gain: tuple[float, ...]
    bias: tuple[float, ...]
    drawing: Drawing | None = None


def plan_normalisation(contract: Contract, bands: Sequence[Band]) -> Normalisation:
    """Fold scale, offset, mean and std, in float64, into one gain and bias per band; and the rendering, if any is due.

    Stored pictures (`Contract.dtypes`) pass the rendering as they are.
    """
    unit = contract.units == "reflectance"
    scale = np.array([band.scale if unit else 1.0 for band in bands], np.float64)
    offset = np.array([band.offset if unit else 0.0 for band in bands], np.float64)
    mean, std = np.array(contract.mean, np.float64), np.array(contract.std, np.float64)
    gain, bias = tuple((scale / std).tolist()), tuple(((offset - mean) / std).tolist())
    return Normalisation(gain, bias, _plan_drawing(contract, bands))


def _plan_drawing(contract: Contract, bands: Sequence[Band]) -> Drawing | None:
    """None: every band is a picture already. In a mixed scene those that are get a line that changes nothing."""
    if contract.rendering is None or not any(contract.renders(band) for band in bands):
        return None
    (black, white), (low, high) = contract.rendering.reflectance, contract.rendering.levels
    slope = (high - low) / (white - black)
    lines = [
        (band.scale * slope, low + (band.offset - black) * slope, float(low), float(high))
        if contract.renders(band)
        else (1.0, 0.0, 0.0, float(MAX_LEVEL))
        for band in bands
    ]
    gain, bias, lows, highs = zip(*lines, strict=True)
    return Drawing(gain, bias, lows, highs)


def normalise(pixels: Pixels, valid: Valid | None, norm: Normalisation, *, out: Pixels | None = None) -> Pixels:
    """Normalise stored numbers, in place or on the way to their place; pixels that are not valid become 0, the mean.

    Args:
        pixels: (C, H, W) in the contract's band order, stored numbers; overwritten if there is no `out`.
        valid: (H, W), True is usable; None: all are.
        norm: From `plan_normalisation`.
        out: (C, H, W) to be filled; a copy and a pass over it less than copying first.

    Returns:
        `out`, or `pixels`.
    """
    out = pixels if out is None else out
    if norm.drawing is not None:
        pixels = _draw(pixels, norm.drawing, out)
    gain, bias = _columns(norm)
    np.multiply(pixels, gain, out=out)
    np.add(out, bias, out=out)
    if valid is not None:
        out[:, ~valid] = 0.0
    return out


def _draw(pixels: Pixels, drawing: Drawing, out: Pixels) -> Pixels:
    """Stored numbers to whole levels."""
    gain, bias = _columns(drawing)
    np.multiply(pixels, gain, out=out)
    np.add(out, bias, out=out)
    np.rint(out, out=out)
    low, high = (np.array(values, np.float32)[:, None, None] for values in (drawing.low, drawing.high))
    return np.clip(out, low, high, out=out)


@lru_cache(maxsize=32)
def _columns(norm: Normalisation | Drawing) -> tuple[Pixels, Pixels]:
    """Gain and bias as (C, 1, 1) float32."""
    gain, bias = (np.array(values, np.float32)[:, None, None] for values in (norm.gain, norm.bias))
    return gain, bias
