"""Tokens of an OpenID provider: a real one on loopback, and every way in which a token can be bad."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from http.client import HTTPConnection

import pytest

from services.api import oidc
from services.api.auth import Door
from services.api.oidc import Provider, SigningKeys, TokenCheck
from services.api.rate import TokenBuckets
from services.api.refusals import (
    ForbiddenError,
    IdentityUnavailableError,
    TooManyRequestsError,
    UnauthenticatedError,
)
from services.core.errors import ConfigError
from tests.identity import AUDIENCE, ec_key, public_pem, rsa_key, run_identity


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def identity():
    with run_identity() as running:
        running.publish("one")
        yield running


@pytest.fixture
def check(identity, clock):
    provider = Provider(issuer=identity.issuer, audience=AUDIENCE)
    return TokenCheck(provider, SigningKeys(provider, clock=clock))


def subject(check, token):
    return asyncio.run(check.subject(token))


def unsigned(identity):
    """What `alg: none` looks like; PyJWT would not make one with a key id."""
    parts = ({"alg": "none", "kid": "one"}, {"iss": identity.issuer, "aud": AUDIENCE, "sub": "eve", "exp": 2**40})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


def signed_with_the_public_key(identity):
    """HS256 whose secret is the published key: works wherever the token may choose its algorithm."""
    header, claims, _ = identity.token().split(".")
    header = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": "one", "typ": "JWT"}).encode()).decode()
    message = f"{header.rstrip('=')}.{claims}"
    mac = hmac.digest(public_pem(rsa_key("one")), message.encode(), hashlib.sha256)
    return f"{message}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


def test_a_good_token_says_who_it_is(check, identity):
    assert subject(check, identity.token()) == "alice"


def test_an_elliptic_key_is_as_good(check, identity):
    identity.publish_ec("curve")
    assert subject(check, identity.token(kid="curve", key=ec_key("curve"), algorithm="ES256")) == "alice"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"aud": "another"}, "another service"),
        ({"iss": "https://elsewhere.example"}, "another issuer"),
        ({"exp": int(time.time()) - 120}, "expired"),
        ({"nbf": int(time.time()) + 86_400}, "not valid yet"),  # of the import: the suite may take a while
        ({"exp": None}, "lacks a claim"),
        ({"aud": None}, "lacks a claim"),
        ({"iss": None}, "lacks a claim"),
        ({"sub": None}, "lacks a claim"),
    ],
)
def test_a_token_that_is_not_for_us_now_is_refused(check, identity, changes, said):
    with pytest.raises(UnauthenticatedError, match=said):
        subject(check, identity.token(**changes))


def test_a_token_signed_by_somebody_else_is_refused(check, identity):
    with pytest.raises(UnauthenticatedError, match="not genuine"):
        subject(check, identity.token(key=rsa_key("forger")))


@pytest.mark.parametrize("forge", [unsigned, signed_with_the_public_key])
def test_a_token_does_not_choose_how_it_is_checked(check, identity, forge):
    with pytest.raises(UnauthenticatedError, match="RS256 or ES256"):
        subject(check, forge(identity))


@pytest.mark.parametrize("text", ["", "a.b.c", "swath_0a1b2c3d4e5f_x", "é" * 40])
def test_what_is_no_token_is_refused(check, text):
    with pytest.raises(UnauthenticatedError):
        subject(check, text)


def test_a_new_key_is_found_and_a_withdrawn_one_ends(check, identity, clock):
    subject(check, identity.token())
    identity.publish("two")
    clock.now_s += 11  # the cooldown
    assert subject(check, identity.token(kid="two")) == "alice"
    with pytest.raises(UnauthenticatedError, match="does not publish"):
        subject(check, identity.token(kid="one"))


def test_unknown_keys_ask_the_provider_once_in_a_while(check, identity):
    for number in range(20):
        with pytest.raises(UnauthenticatedError, match="does not publish"):
            subject(check, identity.token(kid=f"no-{number % 2}"))
    assert identity.asked == 1


def outlived(check, identity, clock):
    """The keys at hand are believed for an hour, and no longer."""
    clock.now_s += 600
    assert subject(check, identity.token()) == "alice"
    clock.now_s += 3600
    with pytest.raises(IdentityUnavailableError):
        subject(check, identity.token())


def test_known_keys_outlive_a_provider_that_is_away(check, identity, clock):
    subject(check, identity.token())
    identity.away = True
    outlived(check, identity, clock)


@pytest.mark.parametrize(
    "says",
    [b"[" * 100_000, b'{"keys": 7}', b"null", b"\xff", b" " * 2**21],
    ids=["deep", "number", "null", "bytes", "long"],
)
def test_a_provider_that_talks_nonsense_is_as_good_as_away(check, identity, clock, says):
    subject(check, identity.token())
    identity.says = says
    outlived(check, identity, clock)


def test_keys_are_not_taken_over_plain_http_from_wherever_the_provider_sends_on(check, identity, monkeypatch):
    asked = []
    monkeypatch.setattr("http.client.HTTPConnection.connect", spied(asked, HTTPConnection.connect))
    identity.sends_on = "http://127.0.0.2/jwks"
    with pytest.raises(IdentityUnavailableError):
        subject(check, identity.token())
    assert set(asked) == {"127.0.0.1"}


def spied(hosts, connect):
    """The same, noting where to."""

    def noting(connection):
        hosts.append(connection.host)
        connect(connection)

    return noting


def test_a_provider_that_answers_for_ever_holds_nobody_up_for_long(check, identity, clock, monkeypatch):
    monkeypatch.setattr(oidc, "_TIMEOUT_S", 0.2)
    monkeypatch.setattr(oidc, "_PATIENCE_S", 0.05)
    subject(check, identity.token())
    identity.drips = True
    outlived(check, identity, clock)
    identity.drips = False


def test_nobody_can_tell_while_the_provider_was_never_reached(check, identity, clock):
    identity.away = True
    with pytest.raises(IdentityUnavailableError):
        subject(check, identity.token())
    identity.away = False
    clock.now_s += 11
    assert subject(check, identity.token()) == "alice"


def test_a_token_without_the_scope_may_not(identity):
    check = TokenCheck(Provider(issuer=identity.issuer, audience=AUDIENCE, scope="swath.read"))
    with pytest.raises(ForbiddenError, match=r"swath\.read"):
        subject(check, identity.token(scope="other"))
    assert subject(check, identity.token(scope="other swath.read")) == "alice"


@pytest.mark.parametrize("url", ["http://idp.example", "file:///etc/passwd", "idp.example"])
def test_keys_come_over_a_safe_address_only(url):
    with pytest.raises(ConfigError, match="ISSUER"):
        Provider(issuer=url, audience=AUDIENCE)


def test_an_open_door_limits_addresses():
    door = Door(limits=TokenBuckets(rate_per_s=1, burst=1, clock=Clock()))
    caller = asyncio.run(door.identify({}, "10.0.0.1"))
    assert caller.caller == "address:10.0.0.1"
    door.charge(caller)
    with pytest.raises(TooManyRequestsError) as refused:
        door.charge(caller)
    assert refused.value.retry_after_s == 1


@pytest.mark.parametrize("headers", [{}, {"authorization": "Basic eDp5"}, {"authorization": "Bearer "}])
def test_a_door_with_tokens_wants_one(check, headers):
    with pytest.raises(UnauthenticatedError, match="needs a token"):
        asyncio.run(Door(tokens=check).identify(headers, "10.0.0.1"))


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "LOCALHOST"])
def test_a_door_for_this_machine_opens_to_its_own_names(host):
    assert asyncio.run(Door(local_only=True).identify({"host": host}, "127.0.0.1"))


@pytest.mark.parametrize("host", ["", "evil.example:8000", "localhost.evil.example", "[::1", "127.0.0.1.evil.example"])
def test_a_web_page_that_points_its_name_at_us_is_refused(host):
    with pytest.raises(ForbiddenError, match="this machine only"):
        asyncio.run(Door(local_only=True).identify({"host": host}, "127.0.0.1"))
