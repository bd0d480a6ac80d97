"""A short way to `POST /predict`: routing and FastAPI's own layers cost as much as decoding a small JPEG does."""

from dataclasses import dataclass

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from services.api.predict import predict


@dataclass(frozen=True, slots=True)
class _Route:
    """What the gate wants to know of a route."""

    path: str


_PREDICT = _Route("/predict")


class FastLane:
    """Calls the route's own function, and leaves its errors to the gate; whatever else is asked is passed on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] != "http" or scope["path"] != _PREDICT.path or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        scope["route"] = _PREDICT
        request = Request(scope, receive, send)
        response = await predict(request)
        await response(scope, receive, send)
