"""The lazy chain: `Flow.open(scene).select(...).focal_mean(2)` reads nothing; a plan and an engine do, later.

Adapting an old function is one line: `flow.apply(f, label="despeckle", revision="1", halo_px=3)`.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from services.core.errors import BandMismatchError
from services.core.flow.neighbours import Apply, FocalMean
from services.core.flow.operators import NormalisedDifference, Operator, Read, Scale, Select, Stack, identity
from services.core.flow.per_tile import BlendTiles, PredictTiles, TileMean
from services.core.flow.predict import Argmax, Blend, Predict
from services.core.flow.resample import Resample
from services.core.flow.tile import Layer, Pixels
from services.core.grid import TileGrid
from services.core.model.contract import Contract
from services.core.model.preprocess import Normalisation, plan_normalisation
from services.core.records import Band, Scene

_SMALL_INTEGERS = {"uint8", "int8", "uint16", "int16"}


@dataclass(frozen=True, eq=False)
class Flow:
    """One operator and the flows it reads from. Immutable; every method returns a longer flow."""

    operator: Operator
    inputs: tuple["Flow", ...]
    scene: Scene

    @classmethod
    def open(cls, scene: Scene, bands: Sequence[Band] | None = None) -> "Flow":
        """Start from a scene's stored numbers; `bands` None means all of them."""
        chosen = scene.bands if bands is None else tuple(bands)
        return cls(Read(scene.digest, tuple(band.name for band in chosen), scene.shape), (), scene)

    @cached_property
    def layer(self) -> Layer:
        """Bands and grid of what this flow puts out."""
        return self.operator.layer(tuple(flow.layer for flow in self.inputs))

    @cached_property
    def digest(self) -> str:
        """sha256 over the operators, their versions and parameters, and the scene they start from."""
        text = json.dumps(self.describe(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def describe(self) -> dict[str, Any]:
        """The chain as JSON, last operator outermost."""
        return {**identity(self.operator), "inputs": [flow.describe() for flow in self.inputs]}

    def operators(self) -> list[str]:
        """Names in the order they run, each once."""
        names = [name for flow in self.inputs for name in flow.operators()]
        return list(dict.fromkeys([*names, self.operator.name]))

    def then(self, operator: Operator, *others: "Flow") -> "Flow":
        """Append any operator; raises at once if it does not fit."""
        flow = Flow(operator, (self, *others), self.scene)
        _ = flow.layer
        return flow

    def select(self, *bands: str) -> "Flow":
        """Only these bands, in this order."""
        return self.then(Select.of(self.layer.bands, bands))

    def reflectance(self) -> "Flow":
        """Apply the scene's own scale and offset.

        Raises:
            BandMismatchError: A band of this flow is not one the scene stores.
        """
        bands = [self.scene.band(name) for name in self.layer.bands]
        known = [band for band in bands if band is not None]
        if len(known) != len(bands):
            raise BandMismatchError("reflectance() belongs before operators that make new bands")
        return self.then(Scale(tuple(b.scale for b in known), tuple(b.offset for b in known)))

    def normalise(self, mean: Sequence[float], std: Sequence[float]) -> "Flow":
        """(x - mean) / std per band."""
        return self.then(Scale(tuple(1 / s for s in std), tuple(-m / s for m, s in zip(mean, std, strict=True))))

    def index(self, band: str, a: str, b: str) -> "Flow":
        """Append (a - b) / (a + b), e.g. `index("ndvi", "nir", "red")`."""
        picked = Select.of(self.layer.bands, (a, b))
        return self.then(NormalisedDifference(band, *(self.layer.bands.index(name) for name in picked.bands)))

    def focal_mean(self, radius_px: int) -> "Flow":
        """Mean over a square neighbourhood of valid pixels."""
        return self.then(FocalMean(radius_px))

    def resample(self, gsd_m: float) -> "Flow":
        """To pixels of `gsd_m` metres."""
        return self.then(Resample(gsd_m / (self.scene.gsd_m * self.layer.step)))

    def apply(
        self,
        function: Callable[[Pixels], Pixels],
        *,
        label: str,
        revision: str,
        halo_px: int = 0,
        bands: Sequence[str] = (),
    ) -> "Flow":
        """An old `f(array) -> array` on (C, H, W); `label` and `revision` stand for its code in unit keys."""
        return self.then(Apply(function, label, revision, halo_px, tuple(bands)))

    def stack(self, *others: "Flow") -> "Flow":
        """Bands of this flow, then of the others."""
        return self.then(Stack(), *others)

    def predict(self, model_digest: str, contract: Contract, *, batch: int = 1) -> "Flow":
        """Probabilities per pixel from a segmentation model, overlaps blended."""
        norm = self._normalisation(contract)
        names = tuple(c.name for c in contract.classes)
        size = {"chip_px": contract.chip_px, "stride_px": contract.stride_px}
        chips = self.then(Predict(model_digest, names, norm, **size, batch=batch))
        return chips.then(Blend(**size))

    def predict_tiles(self, model_digest: str, contract: Contract, *, tile_px: int) -> "Flow":
        """Probabilities per tile from a classification model, on the tile grid; tiles smaller than a chip are blended.

        Raises:
            ContractError: A chip is no whole number of tiles.
        """
        norm = self._normalisation(contract)
        names = tuple(c.name for c in contract.classes)
        chips = self.then(PredictTiles(model_digest, names, norm, contract.chip_px, tile_px))
        if tile_px == contract.chip_px:
            return chips
        grid = TileGrid(shape=self.layer.shape, tile_px=tile_px)
        return chips.then(BlendTiles(names, (grid.rows, grid.cols), contract.chip_px // tile_px))

    def tile_mean(self, tile_px: int, factor: float) -> "Flow":
        """One score per tile, on the tile grid."""
        stored = isinstance(self.operator, Read)
        dtypes = {band.dtype for band in self.scene.bands if band.name in self.layer.bands}
        return self.then(TileMean(tile_px, factor, _small_integers=stored and dtypes <= _SMALL_INTEGERS))

    def argmax(self) -> "Flow":
        """The likeliest class of each pixel."""
        return self.then(Argmax())

    def chip_by_chip(self) -> "Flow":
        """The same layer, its blended chips asked for one by one: whatever tiles are wanted, each is computed once."""
        if not isinstance(self.operator, BlendTiles):
            return self
        return replace(self, operator=replace(self.operator, _singly=True))

    def _normalisation(self, contract: Contract) -> Normalisation:
        if len(self.layer.bands) != len(contract.bands):
            raise BandMismatchError(f"model {contract.name} needs {', '.join(contract.bands)}")
        bands = [self.scene.band(name) for name in self.layer.bands]
        return plan_normalisation(contract, [band for band in bands if band is not None])
