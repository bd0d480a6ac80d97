"""What the OpenAPI document says of `/predict` and `/predict/batch`, whose routes FastAPI does not look into."""

from typing import Any

from pydantic import ConfigDict, Field, JsonValue

from services.api.auth import SECURITY
from services.api.problems import Problem, problem_responses
from services.core.records import Record

_EXAMPLE: JsonValue = {
    "class": "River",
    "probabilities": {"Forest": 0.0123, "River": 0.9877},
    "model": {"name": "eurosat-rgb", "digest": "5f" * 32, "stage": "production"},
    "request_id": "6f1d2c3b4a5e6f70",
}


class AnsweringModel(Record):
    """Which network answered."""

    name: str
    digest: str = Field(description="sha256 of its package.")
    stage: str | None = Field(default=None, description="`production` if the catalog promoted it; null: it came along.")


class Prediction(Record):
    """What one image shows."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    best: str = Field(alias="class", description="The likeliest class.")
    probabilities: dict[str, float] = Field(description="Of every class, in the model's order.")
    model: AnsweringModel
    request_id: str


class BatchItem(Record):
    """A prediction, or `problem` where this image could not be used."""

    best: str | None = Field(default=None, alias="class")
    probabilities: dict[str, float] | None = None
    model: AnsweringModel | None = None
    request_id: str | None = None
    problem: Problem | None = None


class BatchPrediction(Record):
    """One item for each file, in the order they were sent."""

    results: list[BatchItem]
    request_id: str


_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BANDS = {
    "name": "bands",
    "in": "query",
    "required": False,
    "description": "Names of a GeoTIFF's bands in order, where the file does not say: `B02,B03,B04`.",
    "schema": {"type": "string", "maxLength": 2000},
}
_STATUSES = (401, 403, 408, 413, 415, 422, 429, 503)


def _form(field: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"schema": {"type": "object", "required": [field], "properties": {field: schema}}}


def _docs(summary: str, answer: type[Record], *, body: str, content: dict[str, Any]) -> dict[str, Any]:
    """What both routes tell FastAPI: `body` describes the request, `content` is what may be sent."""
    return {
        "summary": summary,
        "response_model": answer,
        "responses": problem_responses(*_STATUSES),
        "openapi_extra": {
            "security": SECURITY,
            "parameters": [_BANDS],
            "requestBody": {"required": True, "description": body, "content": content},
        },
    }


PREDICT_DOCS = _docs(
    "What an image shows",
    Prediction,
    body="A JPEG, PNG or GeoTIFF: the body itself, or the form's field `file`.",
    content={
        "image/jpeg": _BINARY,
        "image/png": _BINARY,
        "image/tiff": _BINARY,
        "multipart/form-data": _form("file", _BINARY["schema"]),
    },
)

BATCH_DOCS = _docs(
    "What each of many images shows",
    BatchPrediction,
    body="The images, as files in the form's field `files`.",
    content={"multipart/form-data": _form("files", {"type": "array", "items": _BINARY["schema"]})},
)
