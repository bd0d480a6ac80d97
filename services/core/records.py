"""Frozen shapes that cross a wire or a table: scenes, runs, units, products.

All are pydantic models, so `model_validate_json(model_dump_json())` is the identity; pixels never go here.
"""

import math
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Affine6 = tuple[float, float, float, float, float, float]
Sha256 = str


class Record(BaseModel):
    """Frozen, and strict about fields it does not know."""

    #: A band's nodata may be NaN, which JSON cannot say: it crosses as the string "NaN" instead of being lost as null.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class MaskKind(StrEnum):
    """Where an asset says which pixels are usable."""

    NONE = "none"
    NODATA = "nodata"
    #: Internal or sidecar .msk, for all bands at once.
    MASK = "mask"
    ALPHA = "alpha"

    @property
    def explicit(self) -> bool:
        """Whether it holds for all bands of the scene, whatever their pixels say."""
        return self in (MaskKind.MASK, MaskKind.ALPHA)


class Asset(Record):
    """One file of a scene."""

    href: str  #: absolute path or s3:// URI
    sha256: Sha256
    size_bytes: int
    driver: Literal["GTiff", "JP2OpenJPEG"]
    shape: tuple[int, int]  #: (height, width)
    block_shape: tuple[int, int]
    transform: Affine6
    mask: MaskKind
    alpha: int | None = None  #: 1-based band of an ALPHA mask; None: of a scene ingested before this was kept
    #: Files beside it that change what is read (.msk, .tfw, .aux.xml), named as `href` is; part of the digest.
    sidecars: tuple[str, ...] = ()
    sidecar_sha256: tuple[Sha256, ...] = ()  #: of each; none in a scene ingested before they were kept

    @property
    def digests(self) -> tuple[tuple[str, Sha256], ...]:
        """(href, sha256) of the file, and of those beside it whose digest was kept."""
        return (self.href, self.sha256), *zip(self.sidecars, self.sidecar_sha256, strict=False)


class Band(Record):
    """One layer of a scene, addressed by name; `asset` and `bidx` say where it is stored."""

    name: str  #: STAC common name (`red`, `swir16`) where known, else the file's own in lower case, else `band<n>`
    alias: str | None = None  #: what the sensor calls it (`B04`)
    also: tuple[str, ...] = ()  #: further names it answers to: a Landsat's only near infrared is `nir` and `nir08`
    asset: int  #: position in Scene.assets
    bidx: int  #: 1-based
    dtype: str
    nodata: float | None = None
    scale: float = 1.0
    offset: float = 0.0
    #: Who said scale and offset: the file's tags, the STAC item, the sensor's rule, or nobody (then 1 and 0).
    scale_source: Literal["file", "item", "sensor", "none"] = "none"


class Part(Record):
    """Where a part of a scene lies in the whole."""

    row_off: int
    col_off: int
    shape: tuple[int, int]  #: (height, width) of the whole


class Naming(Record):
    """How a user named a scene, so that a command can name it again: public addresses, absolute paths."""

    paths: tuple[str, ...] = ()
    bands: tuple[tuple[str, str], ...] = ()  #: (name, file) of each `--band`; then there are no paths
    names: tuple[str, ...] = ()  #: `--bands`
    crs: str | None = None
    bounds: tuple[float, float, float, float] | None = None  #: (left, bottom, right, top) in `crs`


class Scene(Record):
    """One acquisition on one grid: the finest grid among its bands."""

    id: str
    title: str
    #: What the user named it by; a path, URI or STAC item.
    source: str
    naming: Naming | None = None  #: with all options; None: of a scene ingested before this was kept
    #: sha256 over assets' digests and the band table: two scenes with equal digests have equal pixels.
    digest: Sha256
    assets: tuple[Asset, ...]
    bands: tuple[Band, ...]
    shape: tuple[int, int]  #: (height, width)
    crs: str  #: EPSG:n where there is one, else WKT2
    transform: Affine6
    gsd_m: float  #: metres on the ground per pixel; for a geographic CRS at the scene's centre
    pixel_aspect: float = 1.0  #: a pixel's width on the ground per height, there; 1 of scenes ingested before
    platform: str | None = None
    acquired_at: datetime | None = None
    #: Footprint in WGS84 degrees, split at the antimeridian; None where the CRS is not of the Earth.
    geometry: dict[str, Any] | None = None
    bbox: tuple[float, float, float, float] | None = None
    part: Part | None = None  #: what a run over a window looks at; None: the whole scene

    @property
    def origin(self) -> tuple[int, int]:
        """(row, column) of the first pixel on the grid of the whole scene."""
        return (self.part.row_off, self.part.col_off) if self.part else (0, 0)

    @property
    def whole_shape(self) -> tuple[int, int]:
        """(height, width) of the whole scene."""
        return self.part.shape if self.part else self.shape

    def sides_m(self, gsd_m: float) -> tuple[float, float]:
        """(width, height) on the ground of its pixels once their area is that of a square of `gsd_m`."""
        root = math.sqrt(self.pixel_aspect)
        return gsd_m * root, gsd_m / root

    def band(self, name: str) -> Band | None:
        """The band with this name, else with this alias, letter case ignored."""
        wanted = name.casefold()
        for band in self.bands:
            if band.name.casefold() == wanted:
                return band
        for band in self.bands:
            if wanted in ((band.alias or "").casefold(), *(other.casefold() for other in band.also)):
                return band
        return None

    def assets_of(self, bands: Sequence[Band]) -> tuple[Asset, ...]:
        """The files that decide these bands' pixels, in the scene's order: theirs, and those that mask the scene."""
        read = {band.asset for band in bands}
        return tuple(asset for at, asset in enumerate(self.assets) if at in read or asset.mask.explicit)


class TileState(StrEnum):
    """What happened to one planned tile."""

    COMPUTED = "computed"
    #: No valid pixel in the source: nothing to predict, and nothing wrong.
    EMPTY = "empty"
    #: Could not be computed; the map holds nodata there and the run says so.
    MASKED = "masked"


class RunState(StrEnum):
    """Where a run stands."""

    PLANNED = "planned"
    RUNNING = "running"
    #: Product is complete and in place; some tiles may be masked, and are counted.
    PUBLISHED = "published"
    #: Gave up; units already done are kept, and `swath resume` goes on from them.
    FAILED = "failed"


class UnitState(StrEnum):
    """Where one unit of a run stands."""

    PENDING = "pending"
    CLAIMED = "claimed"
    DONE = "done"


class PlannedUnit(Record):
    """A contiguous band of tile rows, computed and committed as one."""

    index: int
    key: Sha256  #: digest of everything that determines its bytes
    row_start: int  #: first tile row
    row_stop: int  #: one past the last
    tiles: int


class UnitResult(Record):
    """What a finished unit left behind; found again by `key` by any later run."""

    key: Sha256
    object_key: str
    sha256: Sha256
    tiles: int
    masked: int
    seconds: float


NO_BACKEND = "none"  #: a threshold needs no network


class Run(Record):
    """One scene x one model x one grid."""

    id: str
    scene_id: str
    model_name: str
    model_digest: Sha256
    tile_px: int
    backend: str  #: e.g. `openvino:bf16`, or `NO_BACKEND`; part of every unit key
    out: str  #: folder or s3:// prefix that receives `<run id>/`
    state: RunState
    command: str  #: repeats this run
    code_version: str
    plan: dict[str, Any] = Field(default_factory=dict)
    created_at: datetime
    finished_at: datetime | None = None
    error: str | None = None


class RunProgress(Record):
    """Counts of one run's tiles and units."""

    units: int
    units_done: int
    tiles_planned: int
    tiles_computed: int
    tiles_reused: int
    tiles_masked: int


class Product(Record):
    """What a run published."""

    run_id: str
    href: str
    manifest_sha256: Sha256
    files: dict[str, Sha256]
    coverage: dict[str, Any]
    created_at: datetime
