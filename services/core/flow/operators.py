"""The operators that stay on a pixel grid. Each says which windows it needs for a window it must put out.

An operator is a frozen value; its `identity` enters the key of every unit it had a part in, so `version` must be
raised whenever its numbers change. The order of every sum is fixed, so a pixel has the same bytes whatever window it
is computed in.
"""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from services.core.errors import BandMismatchError, ContractError
from services.core.flow.tile import Bench, Layer, Pixels, Tile, Valid
from services.core.grid import Window

Need = tuple[int, Window]  #: (position of the input, window of it)


class Operator(Protocol):
    """The whole interface: where the pixels come from, and how one window is computed."""

    name: ClassVar[str]
    version: ClassVar[int]

    def layer(self, inputs: tuple[Layer, ...]) -> Layer:
        """The raster this operator puts out."""
        ...

    def needs(self, out: Window, inputs: tuple[Layer, ...]) -> tuple[Need, ...]:
        """Windows of the inputs that `out` is computed from, inside their rasters, in a fixed order."""
        ...

    def compute(self, out: Window, tiles: tuple[Tile, ...], bench: Bench) -> Tile:
        """One tile from the tiles of `needs`, in that order; must not change them."""
        ...


def identity(operator: Operator) -> dict[str, Any]:
    """Name, version and parameters, as JSON."""
    values = asdict(operator)  # type: ignore[call-overload]  # every operator is a dataclass
    parameters = {key: value for key, value in values.items() if not key.startswith("_") and not callable(value)}
    return {"name": operator.name, "version": operator.version, **parameters}


def _same_window(out: Window) -> tuple[Need, ...]:
    return ((0, out),)


@dataclass(frozen=True, slots=True)
class Read:
    """Stored numbers of the scene's bands; the only operator without an input."""

    scene_digest: str
    bands: tuple[str, ...]
    shape: tuple[int, int]
    name: ClassVar[str] = "read"
    version: ClassVar[int] = 1

    def layer(self, inputs: tuple[Layer, ...]) -> Layer:
        del inputs
        return Layer(bands=self.bands, shape=self.shape)

    def needs(self, out: Window, inputs: tuple[Layer, ...]) -> tuple[Need, ...]:
        del out, inputs
        return ()

    def compute(self, out: Window, tiles: tuple[Tile, ...], bench: Bench) -> Tile:
        del tiles
        data, valid = bench.read(self.bands, out)
        return Tile(window=out, data=data, valid=valid)


@dataclass(frozen=True, slots=True)
class Select:
    """Some bands of the input, in the order asked for."""

    bands: tuple[str, ...]
    _positions: tuple[int, ...]
    name: ClassVar[str] = "select"
    version: ClassVar[int] = 1

    @classmethod
    def of(cls, available: tuple[str, ...], wanted: tuple[str, ...]) -> "Select":
        """Look the names up once.

        Raises:
            BandMismatchError: A name is not there.
        """
        missing = [band for band in wanted if band not in available]
        if missing:
            raise BandMismatchError(f"no band {', '.join(missing)}; there are {', '.join(available)}")
        return cls(wanted, tuple(available.index(band) for band in wanted))

    def layer(self, inputs: tuple[Layer, ...]) -> Layer:
        return Layer(bands=self.bands, shape=inputs[0].shape, step=inputs[0].step)

    def needs(self, out: Window, inputs: tuple[Layer, ...]) -> tuple[Need, ...]:
        del inputs
        return _same_window(out)

    def compute(self, out: Window, tiles: tuple[Tile, ...], bench: Bench) -> Tile:
        del bench
        return Tile(window=out, data=tiles[0].data[list(self._positions)], valid=tiles[0].valid)


@dataclass(frozen=True, slots=True)
class Scale:
    """`x * gain + bias` per band: stored numbers to reflectance, or reflectance to what a network was trained on."""

    gain: tuple[float, ...]
    bias: tuple[float, ...]
    name: ClassVar[str] = "scale"
    version: ClassVar[int] = 1

    def layer(self, inputs: tuple[Layer, ...]) -> Layer:
        if not len(inputs[0].bands) == len(self.gain) == len(self.bias):
            raise BandMismatchError(f"{len(self.gain)} gains for {len(inputs[0].bands)} bands")
        return inputs[0]

    def needs(self, out: Window, inputs: tuple[Layer, ...]) -> tuple[Need, ...]:
        del inputs
        return _same_window(out)

    def compute(self, out: Window, tiles: tuple[Tile, ...], bench: Bench) -> Tile:
        del bench
        data = tiles[0].data * _per_band(self.gain)
        data += _per_band(self.bias)
        return Tile(window=out, data=data, valid=tiles[0].valid)


@dataclass(frozen=True, slots=True)
class NormalisedDifference:
    """(a - b) / (a + b) as one more band, e.g. NDVI from nir and red; not valid where a + b is 0."""

    band: str
    a: int
    b: int
    name: ClassVar[str] = "normalised-difference"
    version: ClassVar[int] = 1

    def layer(self, inputs: tuple[Layer, ...]) -> Layer:
        return Layer(bands=(*inputs[0].bands, self.band), shape=inputs[0].shape, step=inputs[0].step)

    def needs(self, out: Window, inputs: tuple[Layer, ...]) -> tuple[Need, ...]:
        del inputs
        return _same_window(out)

    def compute(self, out: Window, tiles: tuple[Tile, ...], bench: Bench) -> Tile:
        del bench
        a, b = tiles[0].data[self.a], tiles[0].data[self.b]
        total = a + b
        defined = total != 0
        index = np.divide(a - b, total, out=np.zeros_like(total), where=defined)
        valid = tiles[0].valid
        if not defined.all():
            valid = tiles[0].mask() & defined
        return Tile(window=out, data=np.concatenate([tiles[0].data, index[None]]), valid=valid)


@dataclass(frozen=True, slots=True)
class Stack:
    """The bands of several inputs on one grid, one after the other; valid where all are."""

    name: ClassVar[str] = "stack"
    version: ClassVar[int] = 1

    def layer(self, inputs: tuple[Layer, ...]) -> Layer:
        if len({(layer.shape, layer.step) for layer in inputs}) != 1:
            raise ContractError("flows on different grids cannot be stacked; resample them first")
        return Layer(
            bands=tuple(band for layer in inputs for band in layer.bands), shape=inputs[0].shape, step=inputs[0].step
        )

    def needs(self, out: Window, inputs: tuple[Layer, ...]) -> tuple[Need, ...]:
        return tuple((position, out) for position in range(len(inputs)))

    def compute(self, out: Window, tiles: tuple[Tile, ...], bench: Bench) -> Tile:
        del bench
        masks = [tile.valid for tile in tiles if tile.valid is not None]
        valid: Valid | None = np.logical_and.reduce(masks) if masks else None
        return Tile(window=out, data=np.concatenate([tile.data for tile in tiles]), valid=valid)


def _per_band(values: tuple[float, ...]) -> Pixels:
    return np.array(values, np.float32)[:, None, None]  # (C,) -> (C, 1, 1)
