"""Stores for the contract suites: the shipped fake, a folder, and every S3 server this machine can start."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from services.core.settings import Settings
from services.core.storage import ObjectStore, open_store
from services.core.testing import MemoryStore
from tests.s3_server import S3Server, available_kinds, run_s3_server

S3_KINDS = [pytest.param(kind, marks=pytest.mark.s3) for kind in available_kinds() or ["s3 server"]]


@pytest.fixture(scope="session")
def _running() -> Iterator[Callable[[str], S3Server]]:
    """Each kind of server is started once, when the first test needs it."""
    with ExitStack() as stack:
        yield cache(lambda kind: stack.enter_context(run_s3_server(kind)))


@pytest.fixture
def start_s3(_running: Callable[[str], S3Server], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], S3Server]:
    """A running server of a kind, its credentials (not its SWATH_* settings) in the environment."""

    def start(kind: str) -> S3Server:
        if not available_kinds():
            why = "no S3 server here: install versitygw or moto[server]"
            pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
        server = _running(kind)
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        for name, value in server.environment.items():
            if name.startswith("AWS_"):
                monkeypatch.setenv(name, value)
        return server

    return start


@pytest.fixture(params=S3_KINDS)
def s3_server(request: pytest.FixtureRequest, start_s3: Callable[[str], S3Server]) -> S3Server:
    """Every S3 server in turn."""
    return start_s3(request.param)


@pytest.fixture
def s3_uri(s3_server: S3Server) -> str:
    """A prefix on that server no other test uses."""
    return f"{s3_server.uri}/{secrets.token_hex(6)}"


@pytest.fixture(params=["memory", "files", *S3_KINDS])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, settings: Settings, start_s3: Callable[[str], S3Server]
) -> ObjectStore:
    """Every kind of store in turn, empty."""
    if request.param == "memory":
        return MemoryStore()
    if request.param == "files":
        return open_store(str(tmp_path / "store"), settings)
    server = start_s3(request.param)
    return open_store(f"{server.uri}/{secrets.token_hex(6)}", server.settings())
