"""What `/infer` is asked and what it answers, as its OpenAPI document shows them."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from services.api.ids import MODEL_ID, SCENE_ID
from services.core.records import Record

Degrees = Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]
Latitude = Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
SceneId = Annotated[str, Field(pattern=SCENE_ID)]
ModelId = Annotated[str, Field(pattern=MODEL_ID)]


class InferRequest(Record):
    """A window of a scene, and the model to ask."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"scene_id": "landsat-0a1b2c3d4e", "bbox": [5.10, 43.80, 5.13, 43.82], "model": "landcover-l7"}
            ]
        }
    )

    scene_id: SceneId | None = Field(default=None, description="As `GET /scenes` lists it.")
    item_id: str | None = Field(
        default=None, min_length=1, max_length=256, description="Instead: the id of the STAC item that was ingested."
    )
    bbox: tuple[Degrees, Latitude, Degrees, Latitude] = Field(
        description="West, south, east, north in degrees; west > east where it crosses the antimeridian."
    )
    model: ModelId = Field(description="Name or digest, as `GET /models` lists it.")
    picture: bool = Field(default=True, description="Whether to send the class map as a PNG.")

    @model_validator(mode="after")
    def _names_one_scene(self) -> Self:
        if (self.scene_id is None) == (self.item_id is None):
            raise ValueError("name either scene_id or item_id")
        if self.bbox[1] >= self.bbox[3] or self.bbox[0] == self.bbox[2]:
            raise ValueError("bbox must be west, south, east, north, and hold some ground")
        return self


class WindowAnswer(Record):
    """Pixels of the scene."""

    row_off: int
    col_off: int
    height: int
    width: int


class ClassShare(Record):
    """One class in the window."""

    value: int
    name: str
    color: str
    fraction: float = Field(description="Part of the cells with a known class that have this one.")
    probability: float | None = Field(default=None, description="Mean over usable cells; null: a threshold has none.")


class ModelRef(Record):
    """Which network answered."""

    name: str
    digest: str
    backend: str


class SceneRef(Record):
    """Whose pixels they are."""

    id: str
    digest: str


class InferAnswer(Record):
    """What the model says of the window; the pixels are those of a run's map."""

    scene: SceneRef
    model: ModelRef
    window: WindowAnswer
    cell_px: float = Field(description="Pixels of the scene per cell of the map along one side.")
    shape: tuple[int, int] = Field(description="Height and width of the map in cells, also of the picture.")
    valid_fraction: float = Field(description="Part of these cells that the scene has usable pixels for.")
    top: str | None = Field(
        description="The class of most cells, on a tie the one that the mean speaks for; null: no cell is usable."
    )
    classes: list[ClassShare]
    score: float | None = Field(default=None, description="Mean score, of a threshold model only.")
    picture: str | None = Field(
        default=None,
        description="The class map as a data: URI of a PNG, north up; of a rotated scene, in its own rows and columns.",
    )


class RunStarted(Record):
    """The window is too large to be answered at once, so a run was started."""

    run_id: str
    location: str = Field(description="Where to look how far it is; also in the Location header.")
    detail: str
