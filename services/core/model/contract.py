"""What a model demands of a scene and promises of its answer; checked before the first pixel is read."""

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from services.core.errors import BandMismatchError, ContractError
from services.core.records import Band, Record, Scene

ModelKind = Literal["threshold", "segmentation", "classification"]


class ModelClass(Record):
    """One value a map may hold."""

    value: int = Field(ge=0, le=254)  #: 255 is nodata in every class map
    name: str
    color: str = Field(pattern=r"^#[0-9a-f]{6}$")


class Contract(Record):
    """The part of `model.json` that the engine enforces; the rest of that file is for people and catalogs."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")
    kind: ModelKind
    bands: tuple[str, ...]  #: in the network's order; empty: every band of the scene, in its order
    #: What the network was trained on: stored numbers, or numbers after scale and offset.
    units: Literal["dn", "reflectance"]
    #: For `dn`: the stored types it knows (`uint8`); empty: any.
    dtypes: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()  #: per band, in `units`
    std: tuple[float, ...] = ()
    gsd_m: tuple[float, float] | None = None  #: coarsest and finest it was shown to work at: (min, max) metres
    chip_px: int = Field(default=256, ge=1)
    stride_px: int = Field(default=256, ge=1)  #: less than chip_px: overlapping chips are blended
    classes: tuple[ModelClass, ...]
    threshold: float | None = None  #: kind `threshold`: a score at or above it is the class of value 1

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        if self.kind == "threshold":
            if self.threshold is None:
                raise ValueError("a threshold model needs its threshold")
        elif not self.bands or not len(self.bands) == len(self.mean) == len(self.std):
            raise ValueError("bands, mean and std must have one entry per band")
        if any(std <= 0 for std in self.std):
            raise ValueError("std must be positive")
        if self.stride_px > self.chip_px:
            raise ValueError("stride_px must not exceed chip_px")
        if [c.value for c in self.classes] != list(range(len(self.classes))):
            raise ValueError("class values must count from 0 in order")
        return self

    def pick_bands(self, scene: Scene, *, gsd_m: float | None = None) -> tuple[Band, ...]:
        """The scene's bands in the network's order; `gsd_m` is what the scene will be resampled to, if it will.

        Raises:
            BandMismatchError: A band the model needs is not in the scene.
            ContractError: GSD out of range, or stored values of a kind the model never saw.
        """
        if not self.bands:
            return scene.bands
        found = [scene.band(name) for name in self.bands]
        missing = [name for name, band in zip(self.bands, found, strict=True) if band is None]
        if missing:
            has = ", ".join(band.name for band in scene.bands)
            raise BandMismatchError(
                f"{scene.title} lacks {', '.join(missing)}, which model {self.name} needs; it has {has}. "
                "Name the bands with --band NAME=FILE or choose another model."
            )
        bands = tuple(band for band in found if band is not None)
        self._check_units(scene, bands)
        self._check_gsd(scene, gsd_m or scene.gsd_m)
        return bands

    def _check_gsd(self, scene: Scene, gsd_m: float) -> None:
        if self.gsd_m is None:
            return
        low, high = self.gsd_m
        if not low <= gsd_m <= high:
            raise ContractError(
                f"{scene.title} comes in {gsd_m:g} m pixels; model {self.name} works from {low:g} to {high:g} m. "
                "Resample the scene (--gsd) or choose another model."
            )

    def _check_units(self, scene: Scene, bands: Sequence[Band]) -> None:
        for band in bands:
            if self.units == "dn" and self.dtypes and band.dtype not in self.dtypes:
                raise ContractError(
                    f"band {band.name} of {scene.title} stores {band.dtype}; model {self.name} was trained on "
                    f"{' or '.join(self.dtypes)}. Choose a model for this sensor."
                )
            if self.units == "reflectance" and band.scale_source == "none" and not band.dtype.startswith("float"):
                raise ContractError(
                    f"band {band.name} of {scene.title} says nothing about its scale, and model {self.name} needs "
                    "reflectance. Set scale and offset in the file or its STAC item."
                )
