"""Every way a request can fail, as one table: our error classes to status, type and title (RFC 9457).

What a 5xx was about is logged and never told. No sentence that leaves here holds a path of ours.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from services.api import refusals
from services.core import errors
from services.core.log import get_logger
from services.core.records import Record

_CLIENT_GONE = 499

log = get_logger(__name__)

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Kind:
    """One row of the table."""

    status: int
    slug: str
    title: str
    told: bool = True  #: whether the error's own sentence may leave the house


_INTERNAL = Kind(500, "internal", "Something went wrong here", told=False)
_UNAVAILABLE = Kind(503, "unavailable", "Something this needs does not answer", told=False)

#: The nearest class in an error's ancestry counts.
KINDS: dict[type[Exception], Kind] = {
    refusals.HeadError: Kind(400, "request", "The request makes no sense"),
    refusals.HeadTooLargeError: Kind(431, "head", "The head of the request is too large"),
    refusals.UnauthenticatedError: Kind(401, "unauthenticated", "Who are you?"),
    refusals.ForbiddenError: Kind(403, "forbidden", "You may not do this"),
    refusals.TooSlowError: Kind(408, "too-slow", "The request took too long"),
    refusals.TooLargeError: Kind(413, "too-large", "More than is taken"),
    refusals.MediaTypeError: Kind(415, "media-type", "Not a kind of image that is taken"),
    refusals.ImageError: Kind(422, "image", "The image cannot be used"),
    refusals.TooManyRequestsError: Kind(429, "too-many-requests", "Too many requests"),
    refusals.OverloadedError: Kind(503, "overloaded", "More is asked than can be answered in time"),
    refusals.BusyError: Kind(503, "overloaded", "More is asked than can be answered in time"),
    refusals.IdentityUnavailableError: Kind(503, "unavailable", "Something this needs does not answer"),
    errors.ObjectNotFoundError: Kind(404, "not-found", "No such thing"),
    errors.UnreadableSceneError: Kind(422, "image", "The image cannot be used"),
    errors.UnanswerableError: Kind(422, "image", "The image cannot be used"),
    errors.GeoreferenceError: Kind(422, "image", "The image cannot be used"),
    errors.BandMismatchError: Kind(422, "contract", "Not what the model was made for"),
    errors.ContractError: Kind(422, "contract", "Not what the model was made for"),
    errors.WindowError: Kind(422, "request", "The request makes no sense"),
    errors.RequestError: Kind(422, "request", "The request makes no sense"),
    errors.ConflictError: Kind(409, "conflict", "Somebody else is at it"),
    errors.RetryableError: _UNAVAILABLE,
    errors.SwathError: _INTERNAL,
    Exception: _INTERNAL,
}

#: What the framework refuses by itself.
_HTTP = {
    400: Kind(400, "request", "The request makes no sense"),
    404: Kind(404, "not-found", "No such thing"),
    405: Kind(405, "method", "Not with this method"),
    415: KINDS[refusals.MediaTypeError],
}
_SENTENCES = {
    404: "there is nothing at this address; see /docs",
    405: "this address does not take that method; see /docs",
    400: "the body cannot be read as what its Content-Type says; correct the one or the other",
}
_RETRY_S = 5.0  #: after something was away


class Problem(Record):
    """Why a request was not answered."""

    type: str = Field(description="A name for this kind of problem that does not change.")
    title: str
    status: int
    detail: str = Field(description="What was wrong with what, and what to do: one sentence.")
    request_id: str | None = Field(default=None, description="Names the request in the service's log.")
    retry_after_ms: int | None = Field(default=None, description="When asking again makes sense.")
    errors: list[dict[str, str]] | None = Field(default=None, description="Which fields were wrong, and why.")


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route may answer beside what it is for, for the OpenAPI document."""
    titles = {kind.status: kind.title for kind in (*_HTTP.values(), *KINDS.values())}
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {
        status: {
            "description": titles[status],
            "content": {MEDIA_TYPE: schema},
            **({"headers": {"Retry-After": {"schema": {"type": "integer"}}}} if status in {429, 503} else {}),
        }
        for status in statuses
    }


def problem_of(exc: Exception, *, request_id: str | None = None) -> Problem:
    """The problem that an error of ours is; says of a 5xx only what kind it is."""
    kind = next(KINDS[ancestor] for ancestor in type(exc).__mro__ if ancestor in KINDS)
    told = kind.told
    retry_s = getattr(exc, "retry_after_s", _RETRY_S if kind.status == 503 else None)
    return Problem(
        type=f"urn:swath:problem:{kind.slug}",
        title=kind.title,
        status=kind.status,
        detail=scrubbed(str(exc)) if told else f"{kind.title.lower()}; the log knows more under this request id",
        request_id=request_id,
        retry_after_ms=None if retry_s is None else max(1, math.ceil(retry_s * 1000)),
    )


def respond(problem: Problem) -> Response:
    """The problem as it goes over the wire."""
    headers = {}
    if problem.retry_after_ms is not None:
        headers["Retry-After"] = str(math.ceil(problem.retry_after_ms / 1000))
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="swath"'
    body = problem.model_dump(mode="json", exclude_none=True)
    return JSONResponse(body, status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)


def add_problem_handlers(app: FastAPI) -> None:
    """Let every error of this application end in this table."""
    for kind in (HTTPException, RequestValidationError):  # the framework's own; every other goes on to the gate
        app.add_exception_handler(kind, _answer)


async def _answer(request: Request, exc: Exception) -> Response:
    return answer_for(exc, request.scope["state"]["request_id"])


def answer_for(exc: Exception, request_id: str | None) -> Response:
    """The answer to a request that ended in this; what is our fault is logged here, once."""
    if isinstance(exc, ClientDisconnect):  # sent a part of a body and left: nobody is answered, log and figures say so
        return Response(status_code=_CLIENT_GONE)
    if isinstance(exc, RequestValidationError):
        return _of_validation(exc, request_id)
    if isinstance(exc, HTTPException):
        return _of_http(exc, request_id)
    log_failure(exc, request_id)
    response = respond(problem_of(exc, request_id=request_id))
    if isinstance(exc, refusals.TooSlowError):
        response.headers["Connection"] = "close"  # the rest of a body that may never end is waited for no longer
    return response


#: Routes are said in sentences too, and are no secret.
_PATH = re.compile(
    r"(?<![\w/.:])/(?!(?:runs|scenes|models|predict|infer|health|metrics|docs)\b)(?:[^\s/:;,'\"]+/)+([^\s/:;,'\"]*)"
)
_URI = re.compile(r"\b(?:s3|file|postgresql(?:\+\w+)?|sqlite|https?)://[^\s;,'\"]*?([^\s/;,'\"]*)(?=[\s;,'\"]|$)")


def scrubbed(sentence: str) -> str:
    """The sentence with addresses and paths cut down to their last part."""
    return _PATH.sub(r"\1", _URI.sub(r"\1", sentence))


def log_failure(exc: Exception, request_id: str | None) -> None:
    """Write down what is our fault; its caller is told to ask the log."""
    busy = isinstance(exc, refusals.OverloadedError | refusals.BusyError)
    if busy or problem_of(exc).status < 500:
        return
    unknown = not isinstance(exc, errors.SwathError)
    log.error(
        "request failed", request_id=request_id, error=f"{type(exc).__name__}: {exc}", exc_info=exc if unknown else None
    )


def _of_http(exc: HTTPException, request_id: str | None) -> Response:
    """What the framework refuses."""
    kind = _HTTP.get(exc.status_code) or Kind(exc.status_code, "http", str(exc.detail))
    problem = Problem(
        type=f"urn:swath:problem:{kind.slug}",
        title=kind.title,
        status=kind.status,
        detail=_SENTENCES.get(kind.status) or scrubbed(str(exc.detail)),
        request_id=request_id,
    )
    response = respond(problem)
    response.headers.update(exc.headers or {})
    return response


def _of_validation(exc: RequestValidationError, request_id: str | None) -> Response:
    """A question that FastAPI found wrong."""
    if any(each["type"] == "json_invalid" for each in exc.errors()):
        return _of_http(HTTPException(400), request_id)
    wrong = [{"field": ".".join(map(str, each["loc"])), "reason": _reason(each)} for each in exc.errors()[:20]]
    kind = KINDS[errors.RequestError]
    said = "; ".join(f"{each['field']}: {each['reason'].removeprefix('Value error, ')}" for each in wrong[:3])
    problem = Problem(
        type=f"urn:swath:problem:{kind.slug}",
        title=kind.title,
        status=kind.status,
        detail=scrubbed(said),
        request_id=request_id,
        errors=jsonable_encoder(wrong),
    )
    return respond(problem)


def _reason(found: Mapping[str, Any]) -> str:
    """In words: a regular expression is no sentence."""
    if found["type"] == "string_pattern_mismatch":
        return "it does not look like one; copy it whole from a list, or see /docs for its form"
    return str(found["msg"])
