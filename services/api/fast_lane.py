"""A short way to `POST /predict`: routing and FastAPI's own layers cost as much as decoding a small JPEG does."""

from dataclasses import dataclass

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from services.api.predict import predict
from services.api.problems import on_disconnect, on_error, on_http
from services.core.errors import SwathError


@dataclass(frozen=True, slots=True)
class _Route:
    """What the gate wants to know of a route."""

    path: str


_PREDICT = _Route("/predict")


class FastLane:
    """Calls the route's own function; whatever else is asked, and every error, goes the way of all requests."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] != "http" or scope["path"] != _PREDICT.path or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        scope["route"] = _PREDICT
        request = Request(scope, receive, send)
        try:
            response = await predict(request)
        except SwathError as exc:
            response = await on_error(request, exc)
        except HTTPException as exc:
            response = await on_http(request, exc)
        except ClientDisconnect as exc:
            response = await on_disconnect(request, exc)
        await response(scope, receive, send)
