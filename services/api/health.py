"""Probes that mean something, and the figures that Prometheus reads."""

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from services.api.auth import authenticated
from services.api.metrics import CONTENT_TYPE, Metrics
from services.api.problems import problem_responses
from services.api.readiness import Readiness
from services.core.records import Record
from services.core.settings import Settings


class Alive(Record):
    """The process answers."""

    status: str = "alive"


class Ready(Record):
    """Whether requests should be sent here, and each part's own word on it."""

    status: str
    parts: dict[str, str]


router = APIRouter(tags=["operations"])


@router.get("/health/live", summary="Whether the process answers")
async def show_live() -> Alive:
    """Restart it if not. Nothing else is looked at, so that an ill database restarts nobody."""
    return Alive()


@router.get(
    "/health/ready",
    summary="Whether requests should be sent here",
    response_model=Ready,
    responses={503: {"model": Ready, "description": "Not now; `parts` says which part is not `ok`."}},
)
async def show_ready(request: Request) -> Response:
    """The model is loaded and warmed, store and database answer, and no end is near."""
    readiness: Readiness = request.app.state.readiness
    verdict = await readiness.judge()
    body = Ready(status="ready" if verdict.ready else "not ready", parts=verdict.parts)
    return JSONResponse(body.model_dump(), status_code=200 if verdict.ready else 503)


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **problem_responses(401, 403, 429, 503)},
)
async def show_metrics(request: Request) -> Response:
    """Open on loopback; elsewhere it wants what every route wants, unless SWATH_API_OPEN_METRICS is set."""
    settings: Settings = request.app.state.site.settings
    if not (settings.api_on_loopback or settings.api_open_metrics):
        await authenticated(request)
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.render(), media_type=CONTENT_TYPE)
