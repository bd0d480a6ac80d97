"""Tokens of an OpenID provider: its keys fetched off the event loop and kept, its tokens checked to the letter."""

import asyncio
import json
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit

import jwt

from services.api.refusals import ForbiddenError, IdentityUnavailableError, UnauthenticatedError
from services.core.errors import ConfigError
from services.core.log import get_logger

log = get_logger(__name__)

#: Signatures with a public key only: with HS256, that public key would be everybody's signing secret.
ALGORITHMS = ("RS256", "ES256")
_REQUIRED = ["exp", "iss", "aud", "sub"]
_LEEWAY_S = 30  #: clocks of two hosts differ
_TIMEOUT_S = 5.0  #: for all of an answer, however slowly it comes
_PATIENCE_S = 0.5  #: with a key at hand that is only no longer fresh, nobody waits longer than this for a new set
_FRESH_S = 300.0  #: keys are asked for again after this long
_STALE_S = 3600.0  #: and while the provider is away, the last ones are believed for this long
_COOLDOWN_S = 10.0  #: unknown key ids, or a provider that is away, cause no more than one fetch in this time
_MOST_BYTES = 2**20  #: of a discovery document or a key set; a set has a few thousand


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """Whose tokens are taken, and for whom they must be meant."""

    issuer: str
    audience: str
    jwks_url: str | None = None  #: None: what the issuer's discovery document says
    scope: str | None = None  #: a word that the token's `scope` must hold

    def __post_init__(self) -> None:
        for name, url in (("ISSUER", self.issuer), ("JWKS_URL", self.jwks_url)):
            if url is not None and not _safe(url):
                raise ConfigError(
                    f"setting SWATH_API_OIDC_{name} is wrong: keys must come over https:// (http:// from loopback only)"
                )


class SigningKeys:
    """The provider's public keys by id."""

    def __init__(self, provider: Provider, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._provider = provider
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at_s = -_STALE_S
        self._tried_at_s = -_COOLDOWN_S
        self._away = False
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str) -> jwt.PyJWK:
        """The key with this id.

        Raises:
            UnauthenticatedError: The provider has no such key.
            IdentityUnavailableError: The provider is away and the key is not at hand.
        """
        if (fetching := self._fetch(kid)) is not None:
            await asyncio.wait({fetching}, timeout=None if self._believed(kid) is None else _PATIENCE_S)
        if (key := self._believed(kid)) is not None:
            return key
        if self._away:
            raise IdentityUnavailableError("the identity provider does not answer, so no token can be checked")
        raise UnauthenticatedError("the token is signed with a key that its issuer does not publish; log in again")

    def _age_s(self) -> float:
        return self._clock() - self._fetched_at_s

    def _believed(self, kid: str) -> jwt.PyJWK | None:
        return self._keys.get(kid) if self._age_s() < _STALE_S else None

    def _fetch(self, kid: str) -> "asyncio.Task[None] | None":
        """The fetch that is under way, or a new one; None: what is at hand will do, or has to."""
        if kid in self._keys and self._age_s() < _FRESH_S:
            return None
        if self._fetching is not None and not self._fetching.done():
            return self._fetching
        if self._clock() - self._tried_at_s < _COOLDOWN_S:
            return None
        self._fetching = asyncio.create_task(self._refresh())
        return self._fetching

    async def _refresh(self) -> None:
        self._tried_at_s = self._clock()
        try:
            self._keys = await asyncio.to_thread(_fetch_keys, self._provider)
        except IdentityUnavailableError as exc:
            self._away = True
            log.warning("identity provider away", error=str(exc))
            return
        self._away = False
        self._fetched_at_s = self._clock()


class TokenCheck:
    """Decides whether a bearer token is good."""

    def __init__(self, provider: Provider, keys: SigningKeys | None = None) -> None:
        self._provider = provider
        self._keys = keys or SigningKeys(provider)

    async def subject(self, token: str) -> str:
        """The token's subject.

        Raises:
            UnauthenticatedError: It is not a token, not signed by the provider, not for us, or not valid now.
            ForbiddenError: It lacks the scope.
            IdentityUnavailableError: Nobody can tell at the moment.
        """
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as exc:
            raise UnauthenticatedError("the bearer token is not a JSON web token; log in again") from exc
        kid = header.get("kid")
        if header.get("alg") not in ALGORITHMS or not isinstance(kid, str):
            raise UnauthenticatedError(f"the token must be signed with {' or '.join(ALGORITHMS)} by a key with an id")
        key = await self._keys.find(kid)
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=list(ALGORITHMS),
                audience=self._provider.audience,
                issuer=self._provider.issuer,
                leeway=_LEEWAY_S,
                options={"require": _REQUIRED},
            )
        except jwt.PyJWTError as exc:
            raise UnauthenticatedError(_why(exc)) from exc
        self._check_scope(claims.get("scope"))
        return str(claims["sub"])

    def _check_scope(self, scope: object) -> None:
        wanted = self._provider.scope
        if wanted is not None and (not isinstance(scope, str) or wanted not in scope.split()):
            raise ForbiddenError(f"the token's scope does not hold {wanted}; ask your administrator for it")


def _why(exc: jwt.PyJWTError) -> str:
    """Our sentence for PyJWT's classes; its own messages may quote the token."""
    sentences: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
        (jwt.ExpiredSignatureError, "the token has expired; log in again"),
        (jwt.ImmatureSignatureError, "the token is not valid yet; check the clocks"),
        (jwt.InvalidAudienceError, "the token is meant for another service; ask for one for this audience"),
        (jwt.InvalidIssuerError, "the token comes from another issuer than this service trusts"),
        (jwt.MissingRequiredClaimError, f"the token lacks a claim; it needs {', '.join(_REQUIRED)}"),
    )
    return next((text for kind, text in sentences if isinstance(exc, kind)), "the token is not genuine; log in again")


def _fetch_keys(provider: Provider) -> dict[str, jwt.PyJWK]:
    """Blocking."""
    try:
        found = jwt.PyJWKSet.from_json(_read(provider.jwks_url or _discover(provider.issuer)))
    except (jwt.PyJWTError, OSError, ValueError, HTTPException, AttributeError, TypeError, RecursionError) as exc:
        raise IdentityUnavailableError(f"{provider.issuer} gave no keys: {type(exc).__name__}") from exc
    signing = (key for key in found.keys if key.key_id and key.public_key_use in {"sig", None})
    return {str(key.key_id): key for key in signing if key.algorithm_name in ALGORITHMS}


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Goes on to another address only where the first one might have been."""

    def redirect_request(self, *hop: Any) -> urllib.request.Request | None:
        """The request to make next; the last of `hop` is its address.

        Raises:
            URLError: Over a way on which anybody could give keys.
        """
        if not _safe(hop[-1]):
            raise URLError("sent on to an address that is not https")
        return super().redirect_request(*hop)


_OPENER = urllib.request.build_opener(_SafeRedirects)


def _read(url: str) -> str:
    """A small document.

    Raises:
        OSError, HTTPException: It does not come, or not in time.
        ValueError: It is no text, or too long.
    """
    body, until_s = bytearray(), time.monotonic() + _TIMEOUT_S
    with _OPENER.open(url, timeout=_TIMEOUT_S) as answer:
        while part := answer.read1(2**16):
            body += part
            if len(body) > _MOST_BYTES:
                raise ValueError(f"more than {_MOST_BYTES} bytes")
            if time.monotonic() > until_s:
                raise TimeoutError
    return body.decode()


def _discover(issuer: str) -> str:
    """The JWKS address by OpenID Connect Discovery 1.0, section 4, https://openid.net/specs/openid-connect-discovery-1_0.html."""
    url = issuer.rstrip("/") + "/.well-known/openid-configuration"
    facts = json.loads(_read(url))
    jwks_url = facts.get("jwks_uri") if isinstance(facts, dict) else None
    if not isinstance(jwks_url, str) or facts.get("issuer") != issuer or not _safe(jwks_url):
        raise ValueError("a discovery document of another issuer, or with no safe jwks_uri")
    return jwks_url


def _safe(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in {"127.0.0.1", "::1", "localhost"})
