"""A little OpenID provider on loopback: its discovery document, its keys, and tokens signed with them."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.http_server import answering

AUDIENCE = "swath"


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """One key per name; making one costs a tenth of a second."""
    del name
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def ec_key(name: str) -> ec.EllipticCurvePrivateKey:
    del name
    return ec.generate_private_key(ec.SECP256R1())


def public_pem(key: rsa.RSAPrivateKey) -> bytes:
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, kind)


@dataclass
class Identity:
    """What it publishes, and how often it was asked."""

    issuer: str = ""
    keys: list[dict[str, Any]] = field(default_factory=list)
    asked: int = 0
    away: bool = False
    sends_on: str | None = None  #: to another address
    says: bytes | None = None  #: in place of a document
    drips: bool = False  #: a byte at a time, and no end

    def publish(self, *names: str) -> None:
        """RSA keys under these ids, and no others."""
        self.keys = [
            {**RSAAlgorithm.to_jwk(rsa_key(name).public_key(), as_dict=True), "kid": name, "use": "sig", "alg": "RS256"}
            for name in names
        ]

    def publish_ec(self, name: str) -> None:
        jwk = ECAlgorithm.to_jwk(ec_key(name).public_key(), as_dict=True)
        self.keys.append({**jwk, "kid": name, "use": "sig", "alg": "ES256"})

    def token(self, *, kid: str = "one", key: Any = None, algorithm: str = "RS256", **changes: Any) -> str:
        """Good, unless something is changed; a claim set to None is left out."""
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 300, **changes}
        kept = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(kept, rsa_key(kid) if key is None else key, algorithm=algorithm, headers={"kid": kid})


@contextmanager
def run_identity() -> Iterator[Identity]:
    """Serve until the block ends."""
    identity = Identity()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if identity.away:
                self.send_error(503)
                return
            if identity.sends_on is not None:
                self.send_response(302)
                self.send_header("Location", identity.sends_on)
                self.end_headers()
                return
            if self.path == "/jwks":
                identity.asked += 1
                body: dict[str, Any] = {"keys": identity.keys}
            else:
                body = {"issuer": identity.issuer, "jwks_uri": f"{identity.issuer}/jwks"}
            data = json.dumps(body).encode() if identity.says is None else identity.says
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            while identity.drips:
                self.wfile.write(b" ")
                time.sleep(0.02)
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with answering(Handler) as identity.issuer:
        yield identity
