"""The shape of a lineage answer: what `services.core.lineage.trace_pixel` says, field by field."""

from datetime import datetime

from pydantic import Field

from services.core.records import Record


class PixelTrace(Record):
    """The pixel of the scene that holds the place."""

    lon: float
    lat: float
    row: int
    col: int


class TileTrace(Record):
    """The tile that holds the pixel, and its answer."""

    row: int
    col: int
    state: str = Field(description="`computed`, `empty` or `masked`.")
    valid_fraction: float
    answer: dict[str, float] | None = Field(
        description="Mean probability of each class, or the score; null unless the tile was computed."
    )
    reason: str | None = Field(description="Why it is masked.")


class UnitTrace(Record):
    """The unit of work that computed the tile."""

    index: int
    key: str
    sha256: str
    object: str


class SceneTrace(Record):
    """The scene."""

    id: str
    digest: str
    acquired_at: datetime | None


class SourceTrace(Record):
    """One file that was read."""

    href: str
    sha256: str


class ModelTrace(Record):
    """The network that answered."""

    name: str
    digest: str
    backend: str


class LineageAnswer(Record):
    """Where one pixel of a map came from."""

    run_id: str
    pixel: PixelTrace
    tile: TileTrace
    unit: UnitTrace
    scene: SceneTrace
    sources: list[SourceTrace]
    bands: list[str]
    operators: list[str]
    model: ModelTrace
    code_version: str
    command: str
