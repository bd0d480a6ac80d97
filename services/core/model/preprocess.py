"""Stored numbers to what the network eats: one function for training, batch and online."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from services.core.model.contract import Contract
from services.core.records import Band

Pixels = NDArray[np.float32]
Valid = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Per-band line `y = x * gain + bias`: scale, offset, mean and std of one scene and model in one step."""

    gain: tuple[float, ...]
    bias: tuple[float, ...]


def plan_normalisation(contract: Contract, bands: Sequence[Band]) -> Normalisation:
    """Fold scale, offset, mean and std, in float64, into one gain and bias per band."""
    unit = contract.units == "reflectance"
    scale = np.array([band.scale if unit else 1.0 for band in bands], np.float64)
    offset = np.array([band.offset if unit else 0.0 for band in bands], np.float64)
    mean, std = np.array(contract.mean, np.float64), np.array(contract.std, np.float64)
    return Normalisation(tuple((scale / std).tolist()), tuple(((offset - mean) / std).tolist()))


def normalise(pixels: Pixels, valid: Valid | None, norm: Normalisation) -> Pixels:
    """Normalise stored numbers in place; pixels that are not valid become 0, the training mean.

    Args:
        pixels: (C, H, W) in the contract's band order; overwritten.
        valid: (H, W), True is usable; None: all are.
        norm: From `plan_normalisation`.
    """
    gain, bias = _columns(norm)
    np.multiply(pixels, gain, out=pixels)
    np.add(pixels, bias, out=pixels)
    if valid is not None:
        pixels[:, ~valid] = 0.0
    return pixels


@lru_cache(maxsize=32)
def _columns(norm: Normalisation) -> tuple[Pixels, Pixels]:
    """Gain and bias as (C, 1, 1) float32."""
    gain, bias = (np.array(values, np.float32)[:, None, None] for values in (norm.gain, norm.bias))
    return gain, bias
