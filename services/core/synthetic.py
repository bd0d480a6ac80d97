"""A Landsat-like scene with its truth, made from nothing: for the demo and for tests where no imagery is.

The land is drawn first, as classes: forest with clearings, fields, a town with roads, a river, a lake and sand bars.
Then every class gets numbers with the mean, the covariance and the spatial correlation that its pixels have in a
real Landsat-7 scene (a few constants below; no real pixel is copied), mixed at borders and shaded by the terrain.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.core.errors import RequestError
from services.core.grid import whole
from services.core.raster.write import MapSpec, MapWriter

Floats = NDArray[np.float32]
Classes = NDArray[np.uint8]  #: (H, W), the class values of model landcover-l7

DEVELOPED, AGRICULTURE, HERBACEOUS, SHRUBLAND, FOREST, WATER, SEDIMENT = range(7)
TRUTH_NODATA = 255

_BANDS = ("B1", "B2", "B3", "B4", "B5", "B7")
_GSD_M = 28.5
_CRS, _LEFT_M, _TOP_M = "EPSG:32617", 700_000.0, 3_970_000.0
_TAKEN = "2000:03:31 15:40:00"

#: Per class and band, in 8 bit numbers: mean, two loadings that bands share, and deviation of what they do not share.
#: From pixels amid their own kind (5 by 5 alike) of the scene that landcover-l7 was trained on, outliers left out.
_MEAN = np.array([
    [90, 75, 77, 66, 89, 66], [80, 69, 72, 79, 116, 72], [79, 69, 67, 93, 107, 64], [78, 65, 63, 76, 94, 58],
    [73, 58, 55, 64, 82, 50], [68, 49, 38, 15, 14, 12], [123, 112, 128, 69, 131, 122],
], np.float32)  # fmt: skip
_FIRST = np.array([
    [12, 13.5, 20, 1, 15, 18], [4.4, 6.1, 12, -1.5, 14, 13], [7.5, 9.3, 18, -8.1, 20, 20], [5.4, 7.1, 11, 2.3, 16, 14],
    [3.2, 4.1, 8.1, 1.8, 17, 12], [1.1, 1.7, 2.7, 0.4, 0.3, 0.2], [18, 19, 25, 3, 21, 29],
], np.float32)  # fmt: skip
_SECOND = np.array([
    [-4.6, -2.8, -4.4, 9.7, 9.5, 1.3], [-0.4, 0.3, -2.5, 9.3, 3.6, -0.6], [-1.2, 0.2, -2.2, 15.6, 7.8, 0.7],
    [0, 1.4, -1.1, 11.7, 0.5, -2.5], [2.8, 3.4, 3.9, 2.6, -3.3, -0.1], [0.5, 0, -0.4, 0.3, 1, 1], [5, 5, 5, -2, -8, -4],
], np.float32)  # fmt: skip
_OWN = np.array([
    [2.9, 2.9, 3, 5.6, 2.9, 4.7], [3.2, 4, 5.5, 3.4, 5.4, 2.5], [4, 4.3, 5.6, 3.8, 5.9, 3.1], [4, 4.1, 5, 0.4, 6, 2.1],
    [1.6, 1.3, 2.4, 5.7, 1.6, 2], [1.1, 0.9, 0.7, 0.8, 0.8, 0.8], [0.3, 0.3, 0.3, 5.3, 0.3, 0.3],
], np.float32)  # fmt: skip
#: Within a class, pixels 1, 2, 4 and 8 apart correlate by 0.72, 0.47, 0.33 and 0.2: a fine and a coarse texture.
_TEXTURE = ((0.65, 0.8), (0.35, 4.0))  # (share of variance, smoothing in px)
#: Brightness per standard deviation of slope towards the sun; slight, because the class statistics hold some of it.
_SHADE = 0.05
_SPREAD = 0.2  # of a pixel's light, what comes from its four neighbours


@dataclass(frozen=True, slots=True)
class SyntheticScene:
    """Pixels and what they are."""

    pixels: NDArray[np.uint8]  #: (6, H, W): blue, green, red, nir, swir16, swir22; 0 is nodata and does not occur
    classes: Classes


def make_scene(path: Path, truth_path: Path, *, shape: tuple[int, int] = (1024, 1024), seed: int = 7) -> None:
    """Write a six-band uint8 Landsat-7-like COG and its class raster; equal arguments give equal pixels.

    Raises:
        RequestError: Less than 2 by 2 pixels.
        StorageUnavailableError, StorageRefusedError: A file cannot be written.
    """
    scene = draw_scene(shape, seed=seed)
    tags = {"TIFFTAG_DATETIME": _TAKEN, "TIFFTAG_IMAGEDESCRIPTION": "Synthetic, after Landsat-7 ETM+; not a real place"}
    _write(path, scene.pixels, bands=_BANDS, nodata=0, tags=tags)
    _write(truth_path, scene.classes[None], bands=("class",), nodata=TRUTH_NODATA, tags={})


def draw_scene(shape: tuple[int, int], *, seed: int) -> SyntheticScene:
    """The scene as arrays.

    Raises:
        RequestError: Less than 2 by 2 pixels.
    """
    if min(shape) < 2:
        raise RequestError(f"a scene of {shape[0]} by {shape[1]} pixels has no slopes; make it 2 by 2 or larger")
    rng = np.random.default_rng(seed)
    height = np.zeros(shape, np.float32)
    for scale_px in (15.0, 40.0, 100.0):  # as steep at every scale: rough hills
        height += np.float32(scale_px) * _noise(rng, shape, scale_px)
    classes = _draw_land(rng, shape)
    return SyntheticScene(_colour(rng, classes, height), classes)


def _draw_land(rng: np.random.Generator, shape: tuple[int, int]) -> Classes:
    """Later things lie on earlier ones."""
    openness = _noise(rng, shape, 14.0) + 0.5 * _noise(rng, shape, 50.0)
    classes = np.full(shape, FOREST, np.uint8)
    classes[openness > 1.1] = SHRUBLAND
    classes[openness > 1.25] = HERBACEOUS
    _draw_fields(rng, classes)
    _draw_town(rng, classes)
    _draw_water(rng, classes)
    return classes


def _draw_fields(rng: np.random.Generator, classes: Classes) -> None:
    """Rectangles in neighbourhoods: pasture for the most part, some ploughed."""
    height, width = classes.shape
    for _ in range(max(1, classes.size // 30_000)):
        row, col = rng.integers(height), rng.integers(width)
        for _ in range(int(rng.integers(4, 12))):
            top, left = row + int(rng.normal(0, 28)), col + int(rng.normal(0, 28))
            tall, wide = rng.integers(8, 30, size=2)
            kind = AGRICULTURE if rng.random() < 0.3 else HERBACEOUS
            classes[max(top, 0) : max(top + tall, 0), max(left, 0) : max(left + wide, 0)] = kind


def _draw_town(rng: np.random.Generator, classes: Classes) -> None:
    """A dense middle that frays into the country, its streets, and two roads across the scene."""
    rows, cols = _grid(classes.shape)
    at, size = rng.uniform(0.25, 0.45, size=2) * classes.shape, min(classes.shape) * 0.22
    density = np.exp(-((rows - at[0]) ** 2 + (cols - at[1]) ** 2) / (2 * size**2))
    classes[density + 0.18 * _noise(rng, classes.shape, 5.0) > 0.55] = DEVELOPED
    street = (rows % 14 < 1) | (cols % 18 < 1)
    classes[street & (density > 0.4)] = DEVELOPED
    bend = 0.05 * min(classes.shape)
    for along, across, middle in ((cols, rows, at[0]), (rows, cols, at[1])):
        course = middle + bend * np.sin(along / (0.13 * along.max() + 1) + rng.uniform(0, 6))
        classes[np.abs(across - course) < 1.6] = DEVELOPED


def _draw_water(rng: np.random.Generator, classes: Classes) -> None:
    """A river that winds from top to bottom, a lake beside it, and sand on some of the banks."""
    rows, cols = _grid(classes.shape)
    height, width = classes.shape
    phase = rng.uniform(0, 6, size=3)
    swing = sum(
        share * np.sin(2 * np.pi * turns * rows / height + at)
        for share, turns, at in ((0.10, 1.3, phase[0]), (0.045, 4.1, phase[1]), (0.012, 11.0, phase[2]))
    )
    course = width * (0.68 + swing)
    lean = np.hypot(1, np.gradient(course, axis=0))  # a slanting river is wider along its row
    half = (3.5 + 1.5 * np.sin(rows / 37.0)) * lean
    banks = np.abs(cols - course) - half
    classes[(banks < 3 * lean) & (_noise(rng, classes.shape, 9.0) > 1.4)] = SEDIMENT
    classes[banks < 0] = WATER
    radius = 0.07 * min(classes.shape)
    away = np.hypot(rows - 0.72 * height, (cols - 0.35 * width) / 1.7)
    classes[away < radius * (1 + 0.2 * _noise(rng, classes.shape, 20.0))] = WATER


def _colour(rng: np.random.Generator, classes: Classes, height: Floats) -> NDArray[np.uint8]:
    """(H, W) -> (6, H, W): class statistics, mixed borders, shade."""
    first, second = _texture(rng, classes.shape), _texture(rng, classes.shape)
    slope = np.gradient(height, axis=0) - np.gradient(height, axis=1)  # the sun stands in the south-east
    light = 1 + _SHADE * np.clip(slope / max(slope.std(), np.float32(1e-6)), -3, 3) * (classes != WATER)
    pixels = np.empty((len(_BANDS), *classes.shape), np.uint8)
    for band, out in enumerate(pixels):
        own = rng.standard_normal(classes.shape, np.float32)
        mean = _spread(_MEAN[:, band][classes])
        varied = _FIRST[:, band][classes] * first + _SECOND[:, band][classes] * second + _OWN[:, band][classes] * own
        np.clip((mean + varied) * light, 1, 255, out=varied)  # 0 is nodata
        out[:] = varied.round()
    return pixels


def _texture(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Noise of unit variance, correlated as land cover is."""
    field = np.zeros(shape, np.float32)
    for share, smooth_px in _TEXTURE:
        field += np.float32(share**0.5) * _noise(rng, shape, smooth_px)
    return field


def _noise(rng: np.random.Generator, shape: tuple[int, int], smooth_px: float) -> Floats:
    """(H, W) Gaussian noise of mean 0 and variance 1, smoothed by a Gaussian of `smooth_px`; wraps around."""
    spectrum = np.fft.rfft2(rng.standard_normal(shape, np.float32))
    rows, cols = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]
    reach = -2 * (np.pi * smooth_px) ** 2
    spectrum *= np.exp(reach * rows**2).astype(np.float32) * np.exp(reach * cols**2).astype(np.float32)
    spectrum[0, 0] = 0
    field: Floats = np.fft.irfft2(spectrum, s=shape).astype(np.float32, copy=False)
    field /= max(field.std(), np.float32(1e-6))  # a very small field has no variance left
    return field


def _spread(values: Floats) -> Floats:
    """Each pixel gives part of its light to its four neighbours, as a sensor's optics do; edges keep theirs."""
    padded = np.pad(values, 1, mode="edge")
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    mixed: Floats = (1 - _SPREAD) * values + _SPREAD / 4 * around
    return mixed


def _grid(shape: tuple[int, int]) -> tuple[Floats, Floats]:
    rows, cols = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    return rows, cols


def _write(path: Path, pixels: NDArray[Any], *, bands: tuple[str, ...], nodata: int, tags: dict[str, str]) -> None:
    shape = (pixels.shape[1], pixels.shape[2])
    spec = MapSpec(
        shape=shape,
        crs=_CRS,
        transform=(_GSD_M, 0.0, _LEFT_M, 0.0, -_GSD_M, _TOP_M),
        dtype="uint8",
        descriptions=bands,
        nodata=nodata,
        tags=tags,
    )
    with MapWriter(spec, path.parent) as writer:
        writer.write(whole(shape), pixels)
        writer.finish(path)
