"""What a model demands of a scene and promises of its answer; checked before the first pixel is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, FiniteFloat, ValidationInfo, field_validator, model_validator

from services.core.errors import BandMismatchError, ContractError
from services.core.records import Band, Record, Scene

MAX_LEVEL = 255
#: Between the smallest and the largest float32, which is what pixels are scaled in.
_LEAST_SCALE, _MOST = 1.2e-38, 3.4e38

#: How many times one side of a pixel may be longer than the other where pixels of one size are asked for, and than a
#: contract allows.
SQUARE_ENOUGH = 1.1
MAKE_SQUARE = "warp it to square pixels first, e.g. to a UTM grid with gdalwarp -t_srs and -tr"

#: What a raster's numbers are stored as, of what Swath reads.
_STORED = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float32", "float64")
#: Least and most of mean (either sign) and std: beyond, float32 would tell no pixel from another.
_LEAST_SPREAD, _FARTHEST = 1e-30, 1e30

ModelKind = Literal["threshold", "segmentation", "classification"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedies:
    """What to do about a scene that a model does not take, in the words of its caller: the command line's."""

    bands: str = "name the bands with --band NAME=FILE, or a single file's with --bands, or choose another model"
    dtype: str = "choose a model for this sensor"
    scale: str = (
        "set scale and offset in the file (gdal_edit.py -scale 0.0001) or its STAC item, or, of Sentinel-2, give the "
        "sensor's band names (--bands B02,B03,B04) and a date in the file's name"
    )
    gsd: str = "resample the scene with --gsd, or choose another model"


_COMMAND_LINE = Remedies()


class ModelClass(Record):
    """One value a map may hold."""

    value: int = Field(ge=0, le=254)  #: 255 is nodata in every class map
    name: str
    color: str = Field(pattern=r"^#[0-9a-f]{6}$")

    @field_validator("name")
    @classmethod
    def _is_a_line(cls, name: str) -> str:
        if not name.strip() or not name.isprintable():
            raise ValueError("a class needs a name, in one line")
        return name


class Rendering(Record):
    """The 8-bit picture a network was trained on: a line from reflectance to whole levels, cut off at both ends.

    The defaults are EuroSAT's: Sentinel-2 Level-1C numbers 0 to 2750 (reflectance times 10000) became levels 1 to 255,
    and 0 stayed nodata.

    Source: the data set's author in https://github.com/jensleitloff/CNN-Sentinel/issues/1
    """

    reflectance: tuple[FiniteFloat, FiniteFloat] = (
        0.0,
        0.275,
    )  #: what was drawn in the darkest and in the brightest level
    levels: tuple[int, int] = (1, 255)

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if not self.reflectance[0] < self.reflectance[1]:
            raise ValueError("reflectance must name the darker value first")
        if not 0 <= self.levels[0] < self.levels[1] <= MAX_LEVEL:
            raise ValueError("levels must be two of 0 to 255, the darker first")
        return self


class Contract(Record):
    """The part of `model.json` that the engine enforces; the rest of that file is for people and catalogs."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")
    kind: ModelKind
    bands: tuple[str, ...]  #: in the network's order; empty: every band of the scene, in its order
    #: What the network was trained on: stored numbers, or numbers after scale and offset.
    units: Literal["dn", "reflectance"]
    #: For `dn`: the stored types it knows (`uint8`); empty: any.
    dtypes: tuple[str, ...] = ()
    #: For `dn`: how other stored types become the pictures it knows; None: they are refused.
    rendering: Rendering | None = None
    mean: tuple[FiniteFloat, ...] = ()  #: per band, in `units`
    std: tuple[FiniteFloat, ...] = ()
    gsd_m: tuple[FiniteFloat, FiniteFloat] | None = None  #: (finest, coarsest) metres it was shown to work at
    chip_px: int = Field(default=256, ge=1)
    #: Less than chip_px: overlapping chips are blended; for a classification a whole part of it, the map's own tile.
    stride_px: int = Field(default=256, ge=1)
    classes: tuple[ModelClass, ...] = Field(min_length=1)
    threshold: FiniteFloat | None = None  #: kind `threshold`: a score at or above it is the class of value 1
    #: Kind `classification`: an answer whose best class is less probable than this is given anew, as the mean over the
    #: chip's eight turns and mirrorings. None: the first look counts.
    second_look: float | None = Field(default=None, gt=0, le=1)

    @field_validator("bands")
    @classmethod
    def _are_bands(cls, bands: tuple[str, ...]) -> tuple[str, ...]:
        if not all(name.strip() and name.isprintable() for name in bands):
            raise ValueError("each band needs a name, in one line")
        if len(set(bands)) < len(bands):
            raise ValueError("each band may be named once")
        return bands

    @field_validator("dtypes")
    @classmethod
    def _are_stored(cls, dtypes: tuple[str, ...]) -> tuple[str, ...]:
        strange = [dtype for dtype in dtypes if dtype not in _STORED]
        if strange:
            raise ValueError(f"no raster stores {strange[0]!r}; there are {', '.join(_STORED)}")
        return dtypes

    @field_validator("mean", "std")
    @classmethod
    def _are_in_reach(cls, values: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        least = _LEAST_SPREAD if info.field_name == "std" else -_FARTHEST
        beyond = [value for value in values if not least <= value <= _FARTHEST]
        if beyond:
            raise ValueError(f"{beyond[0]:g} is not within {least:g} and {_FARTHEST:g}")
        return values

    @field_validator("gsd_m")
    @classmethod
    def _grows(cls, gsd_m: tuple[float, float] | None) -> tuple[float, float] | None:
        if gsd_m is not None and not 0 < gsd_m[0] <= gsd_m[1]:
            raise ValueError("the finest comes first, then the coarsest, both above 0 m")
        return gsd_m

    @field_validator("classes")
    @classmethod
    def _differ(cls, classes: tuple[ModelClass, ...]) -> tuple[ModelClass, ...]:
        if len({each.name for each in classes}) < len(classes):
            raise ValueError("two classes have the same name")
        return classes

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        if (self.kind == "threshold") != (self.threshold is not None):
            raise ValueError("a threshold model needs its threshold, and no other has one")
        if self.kind != "threshold" and not 0 < len(self.bands) == len(self.mean) == len(self.std):
            raise ValueError("bands, mean and std must have one entry per band")
        if self.rendering is not None and (self.units != "dn" or not self.dtypes):
            raise ValueError(
                "a rendering makes stored numbers: it needs units dn, and the dtypes that pass as they are"
            )
        if self.stride_px > self.chip_px:
            raise ValueError("stride_px must not exceed chip_px")
        if self.kind == "classification" and self.chip_px % self.stride_px:
            raise ValueError("stride_px of a classification must divide chip_px")
        if self.second_look is not None and self.kind != "classification":
            raise ValueError("second_look is for a classification: it names a chip, however that is turned")
        if [c.value for c in self.classes] != list(range(len(self.classes))):
            raise ValueError("class values must count from 0 in order")
        return self

    def pick_bands(
        self, scene: Scene, *, gsd_m: float | None = None, remedies: Remedies = _COMMAND_LINE
    ) -> tuple[Band, ...]:
        """The scene's bands in the network's order.

        Args:
            scene: Whose.
            gsd_m: What it will be resampled to, if it will.
            remedies: What a refusal says is to be done.

        Raises:
            BandMismatchError: A band the model needs is not in the scene.
            ContractError: GSD out of range, or stored values of a kind the model never saw.
        """
        if not self.bands:
            for band in scene.bands:
                _check_scale(scene, band)
            return scene.bands
        found = [scene.band(name) for name in self.bands]
        missing = [name for name, band in zip(self.bands, found, strict=True) if band is None]
        if missing:
            has = ", ".join(band.name for band in scene.bands)
            raise BandMismatchError(
                f"{scene.title} lacks {', '.join(missing)}, which model {self.name} needs, and has {has}; "
                f"{remedies.bands}"
            )
        bands = tuple(band for band in found if band is not None)
        self._check_units(scene, bands, remedies)
        self._check_gsd(scene, gsd_m or scene.gsd_m, remedies)
        return bands

    def renders(self, band: Band) -> bool:
        """Whether the band is not a picture yet and is drawn as one before the network sees it."""
        return self.rendering is not None and band.dtype not in self.dtypes

    def _check_gsd(self, scene: Scene, gsd_m: float, remedies: Remedies) -> None:
        if self.gsd_m is None:
            return
        low, high = self.gsd_m
        if not low <= gsd_m <= high:
            raise ContractError(
                f"{scene.title} comes in {gsd_m:g} m pixels, and model {self.name} works from {low:g} to {high:g} m; "
                f"{remedies.gsd}"
            )
        width, height = scene.sides_m(gsd_m)
        if not low / SQUARE_ENOUGH <= min(width, height) <= max(width, height) <= high * SQUARE_ENOUGH:
            raise ContractError(
                f"{scene.title} comes in pixels of {width:.3g} by {height:.3g} m on the ground, and model {self.name} "
                f"works from {low:g} to {high:g} m; {MAKE_SQUARE}"
            )

    def _check_units(self, scene: Scene, bands: Sequence[Band], remedies: Remedies) -> None:
        for band in bands:
            needs_scale = self.units == "reflectance" or self.renders(band)
            if self.units == "dn" and self.dtypes and band.dtype not in self.dtypes and not self.renders(band):
                raise ContractError(
                    f"band {band.name} of {scene.title} stores {band.dtype}, and model {self.name} was trained on "
                    f"{' or '.join(self.dtypes)}; {remedies.dtype}"
                )
            if needs_scale and band.scale_source == "none" and not band.dtype.startswith("float"):
                raise ContractError(
                    f"band {band.name} of {scene.title} says nothing about its scale, and model {self.name} needs "
                    f"reflectance; {remedies.scale}"
                )
            if needs_scale:
                _check_scale(scene, band)


def _check_scale(scene: Scene, band: Band) -> None:
    """Refuse what would make every pixel the same, or turn dark into bright.

    Raises:
        ContractError: The scale is not a positive number, or the offset none.
    """
    if not (_LEAST_SCALE <= band.scale <= _MOST and abs(band.offset) <= _MOST):
        raise ContractError(
            f"band {band.name} of {scene.title} says its scale is {band.scale:g} and its offset {band.offset:g}, which "
            "makes no sense; set them right in the file (gdal_edit.py -scale 0.0001 -offset 0) or its STAC item"
        )
