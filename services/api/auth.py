"""Who asks, and whether they may: keys, an OpenID provider's tokens, or nobody at all; and how fast."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from services.api.keys import KeyRing
from services.api.oidc import TokenCheck
from services.api.rate import TokenBuckets
from services.api.refusals import ForbiddenError, TooManyRequestsError, TooSlowError, UnauthenticatedError

#: Keys that have opened nothing yet, and that one address may try: each costs a look into the catalog.
_TRIES_PER_S = 2.0
_TRIES_BURST = 30


@dataclass(frozen=True, slots=True)
class Subject:
    """Whoever asks: an address, the holder of a key, or the subject of a token."""

    caller: str  #: `address:127.0.0.1`, `key:0a1b…` or `oidc:alice`: whose limit it is, and what the log says


class Door:
    """Lets callers in. Made once, by `create_app`; used from the event loop only.

    With a key ring it wants keys, with a token check it wants tokens, with neither it lets everybody in.
    """

    def __init__(
        self,
        *,
        ring: KeyRing | None = None,
        tokens: TokenCheck | None = None,
        limits: TokenBuckets | None = None,
        local_only: bool = False,
    ) -> None:
        """Made from the settings.

        Args:
            ring: Keys, where keys are wanted.
            tokens: An OpenID provider, where its tokens are wanted.
            limits: How fast one caller may ask; None: as fast as it likes.
            local_only: Where nobody is asked who they are: only those who call this machine by its own name. A web page
                that points a name of its own at 127.0.0.1 (DNS rebinding) would otherwise read what we answer.
        """
        self._ring = ring
        self._tokens = tokens
        self._limits = limits
        self._local_only = local_only
        self._tries = TokenBuckets(rate_per_s=_TRIES_PER_S, burst=_TRIES_BURST)

    def charge(self, subject: Subject) -> None:
        """Take a token of a caller's limit.

        Raises:
            TooManyRequestsError: There is none; the error says when there will be.
        """
        self._take(subject, tokens=1, paid=0)

    def charge_further(self, subject: Subject, images: int) -> None:
        """Take a token for each image of a batch beyond the first, which was charged as the request.

        Raises:
            TooManyRequestsError: They are not there; the error says when they will be.
        """
        self._take(subject, tokens=images, paid=1)

    def _take(self, subject: Subject, *, tokens: int, paid: int) -> None:
        if self._limits is None:
            return
        wait_s = self._limits.take(subject.caller, tokens=tokens, paid=paid)
        if wait_s:
            raise TooManyRequestsError("too many requests from one caller; slow down", retry_after_s=wait_s)

    async def identify(self, headers: Mapping[str, str], address: str) -> Subject:
        """Who this is; `charge` says whether they ask too fast.

        Args:
            headers: Of the request; names in any case.
            address: The caller's.

        Raises:
            UnauthenticatedError: No key or token, or one that opens nothing.
            ForbiddenError: A token that may not do this, or a name that is not this machine's where no key is wanted.
            TooManyRequestsError: Keys tried too fast from one address.
            RetryableError: Whoever knows does not answer.
        """
        if self._ring is not None:
            # A proxy's own Authorization: Basic is not for us.
            text = _bearer(headers) or headers.get("x-api-key", "").strip()
            if not text:
                raise UnauthenticatedError("this needs a key: send `Authorization: Bearer KEY` or `X-API-Key: KEY`")
            if self._ring.is_try(text):
                self._count_try(address)
            return Subject(f"key:{(await self._ring.find(text)).id}")
        if self._tokens is not None:
            token = _bearer(headers)
            if token is None:
                raise UnauthenticatedError("this needs a token: send it as `Authorization: Bearer TOKEN`")
            return Subject(f"oidc:{await self._tokens.subject(token)}")
        if self._local_only and not _names_this_machine(headers.get("host", "")):
            raise ForbiddenError(
                "this service runs without keys, for this machine only; ask it as localhost or 127.0.0.1, or set "
                "SWATH_API_AUTH=keys"
            )
        return Subject(f"address:{address}")

    def _count_try(self, address: str) -> None:
        wait_s = self._tries.take(address)
        if wait_s:
            raise TooManyRequestsError("too many keys tried from one address; wait a moment", retry_after_s=wait_s)


def _names_this_machine(host: str) -> bool:
    try:
        return urlsplit(f"//{host}").hostname in {"localhost", "127.0.0.1", "::1"}
    except ValueError:  # a bracket without its other half
        return False


def _bearer(headers: Mapping[str, str]) -> str | None:
    scheme, _, text = headers.get("authorization", "").partition(" ")
    return text.strip() or None if scheme.lower() == "bearer" else None


async def authenticated(request: Request) -> Subject:
    """Who asks; every route that is not open to all begins with this."""
    door: Door = request.app.state.door
    subject = await door.identify(request.headers, request.client.host if request.client else "unknown")
    request.state.caller = subject.caller  # for the access log, also of those who are refused for their haste
    door.charge(subject)
    return subject


class LockedRoute(APIRoute):
    """Asks who it is, and then for the body, which must be there in time; FastAPI would begin with the body.

    Nor does FastAPI let errors of ours through while it reads one.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's, behind the door."""
        answer, takes_body = super().get_route_handler(), self.body_field is not None

        async def locked(request: Request) -> Response:
            await authenticated(request)
            if takes_body:
                await _read_body(request)
            return await answer(request)

        return locked


async def _read_body(request: Request) -> None:
    """All of it; the request keeps it.

    Raises:
        TooSlowError: It was not there in time.
        SwathError: The gate holds no more.
    """
    seconds = request.app.state.site.settings.api_timeout_s
    try:
        async with asyncio.timeout(seconds):
            await request.body()
    except TimeoutError as exc:
        raise TooSlowError(f"the body was not there after {seconds:g} s; send it again") from exc


#: For the OpenAPI document; FastAPI's own classes would run on the hot path.
SECURITY_SCHEMES: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key of `swath keys create`, or an OIDC token."},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "A key of `swath keys create`."},
}
#: Either of them, or neither where the service runs without keys.
SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"key": []}]
