"""The outermost layer, plain ASGI: names each request, bounds it, times it, logs it and counts it."""

import random
import re
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.api.metrics import Metrics
from services.api.problems import answer_for
from services.api.refusals import BusyError, OverloadedError, TooLargeError
from services.api.runtime import Runtime
from services.core.log import get_logger
from services.core.settings import Settings

log = get_logger("services.api.access")

_SANE = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
#: Any other method would be a label of the caller's choosing.
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_QUIET = ("/health/live", "/health/ready", "/metrics")  #: asked every few seconds: logged only when they fail


class Notes:
    """Logs and counts what was answered."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._metrics = metrics
        self._logs = settings.api_access_log

    def write(self, passage: "Passage") -> None:
        """One request, answered."""
        scope, seconds = passage.scope, time.perf_counter() - passage.began
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.count(passage.route, method, passage.status, seconds)
        if not self._logs or (passage.route in _QUIET and passage.status < 400):
            return
        log.info(
            "request",
            request_id=passage.request_id,
            method=method,
            route=passage.route,
            status=passage.status,
            ms=round(seconds * 1000, 1),
            bytes=passage.received_bytes,
            caller=scope["state"].get("caller"),
        )


class Gate:
    """Wraps the application, and answers for what nothing in there did. What it refuses never reaches a route."""

    def __init__(self, app: ASGIApp, *, settings: Settings, metrics: Metrics, runtime: Runtime) -> None:
        self._app = app
        self._runtime = runtime
        self._metrics = metrics
        self._settings = settings
        self._notes = Notes(settings, metrics)
        self._under_way = 0
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or one message of the server's own life."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        passage = Passage(scope, send, ends=lambda: self._runtime.draining)
        self._under_way += 1
        self._metrics.under_way.set(self._under_way)
        body = _Body(receive, self._settings.api_max_body_bytes, self._hold)
        try:
            self._check(passage)
            await self._app(scope, body.receive, passage.send)
        except Exception as exc:
            if passage.begun:  # half an answer can only be broken off
                raise
            await answer_for(exc, passage.request_id)(scope, receive, passage.send)
        finally:
            self._under_way -= 1
            self._metrics.under_way.set(self._under_way)
            self._held_bytes -= body.size
            passage.received_bytes = body.size
            self._notes.write(passage)

    def _check(self, passage: "Passage") -> None:
        """Refuse by the head alone.

        Raises:
            OverloadedError, BusyError, TooLargeError: Too many requests, or bytes, at once; too many of this one.
        """
        settings, declared = self._settings, passage.declared_bytes
        if self._under_way > settings.api_max_requests:
            raise OverloadedError("as many requests as are taken at once are under way; try again", retry_after_ms=500)
        if declared > settings.api_max_body_bytes:
            raise _too_large(settings.api_max_body_bytes)
        if declared and self._held_bytes + declared > settings.api_body_memory_bytes:
            raise _too_many_bodies()

    def _hold(self, size: int) -> None:
        """Take note of body bytes in memory.

        Raises:
            BusyError: They are too many, over all requests.
        """
        self._held_bytes += size
        if self._held_bytes > self._settings.api_body_memory_bytes:
            raise _too_many_bodies()


class Passage:
    """One request on its way through."""

    __slots__ = (
        "_ends",
        "_send",
        "began",
        "begun",
        "declared_bytes",
        "received_bytes",
        "request_id",
        "scope",
        "status",
    )

    def __init__(self, scope: Scope, send: Send, *, ends: Callable[[], bool]) -> None:
        """`ends` says whether this connection shall carry no further request."""
        self.began = time.perf_counter()
        self.scope = scope
        self.begun = False  #: whether an answer has
        self.status = 500
        self.declared_bytes = 0
        self.received_bytes = 0  #: of a body
        self._send = send
        self._ends = ends
        self.request_id = ""
        for name, value in scope["headers"]:
            if name == b"x-request-id" and _SANE.fullmatch(value):
                self.request_id = value.decode("ascii")
            elif name == b"content-length" and value.isdigit():
                self.declared_bytes = int(value)
        # A name and no secret: asking the kernel for one is a twentieth of the loop's work.
        self.request_id = self.request_id or f"{random.getrandbits(64):016x}"
        scope.setdefault("state", {})["request_id"] = self.request_id

    @property
    def route(self) -> str:
        """The route's template; one word for all addresses that are none."""
        route = self.scope.get("route")
        return getattr(route, "path", None) or "unmatched"

    async def send(self, message: Message) -> None:
        """Pass on, with the request's name on the head, and the advice to go elsewhere if the end is near."""
        if message["type"] == "http.response.start":
            self.begun, self.status = True, message["status"]
            headers = message.setdefault("headers", [])
            headers.append((b"x-request-id", self.request_id.encode()))
            if self._ends():
                headers.append((b"connection", b"close"))
        await self._send(message)


class _Body:
    """Counts what of a body has arrived, whatever its head said."""

    __slots__ = ("_hold", "_limit", "_receive", "size")

    def __init__(self, receive: Receive, limit: int, hold: Callable[[int], None]) -> None:
        self._receive = receive
        self._limit = limit
        self._hold = hold
        self.size = 0

    async def receive(self) -> Message:
        """The next part.

        Raises:
            TooLargeError, BusyError: It is more than one request may send; more than all may at once.
        """
        message = await self._receive()
        part = len(message.get("body", b""))
        if part:
            self.size += part
            self._hold(part)
            if self.size > self._limit:
                raise _too_large(self._limit)
        return message


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(f"a body may have {limit} bytes; send a smaller image, or fewer at once")


def _too_many_bodies() -> BusyError:
    return BusyError("as many bodies as are held at once have been sent; try again")
