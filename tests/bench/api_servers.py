"""Servers to be measured: each started in a process group of its own, asked once, and ended."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.images import KINDS, write_requests
from tests.bench.process import ROOT, BenchError

_LONGEST_START_S = 120


@dataclass(slots=True)
class Server:
    """A command that listens on a port it is told by `PORT` in its words or environment."""

    words: list[str]
    environment: dict[str, str]
    folder: Path
    first_answer_s: float = field(default=float("inf"), init=False)  #: the quickest start so far

    @contextmanager
    def running(self) -> Iterator[str]:
        """Its address, once it has answered a request well."""
        port = str(_free_port())
        url = f"http://127.0.0.1:{port}"
        environment = {name: value.replace("PORT", port) for name, value in self.environment.items()}
        words = [word.replace("PORT", port) for word in self.words]
        write_requests(self.folder / "probe", count=1)
        began = time.perf_counter()
        with (self.folder / "server.log").open("wb") as log:
            process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
            try:
                self._await(url, process)
                self.first_answer_s = min(self.first_answer_s, time.perf_counter() - began)
                yield url
            finally:
                _end(process)

    def _await(self, url: str, process: "subprocess.Popen[bytes]") -> None:
        body = (self.folder / "probe" / "0.form").read_bytes()
        request = urllib.request.Request(f"{url}/predict", body, {"Content-Type": KINDS["form"]})
        deadline = time.monotonic() + _LONGEST_START_S
        while time.monotonic() < deadline and process.poll() is None:
            try:
                with urllib.request.urlopen(request, timeout=10):
                    return
            except OSError:
                pass
            time.sleep(0.02)
        sys.stderr.write((self.folder / "server.log").read_text(errors="replace")[-4000:])
        raise BenchError(f"{self.words[2]} does not answer")


def our_server(model: Path, home: Path, *, backend: str, precision: str) -> Server:
    """`python -m services.api`."""
    settings = {
        "HOME": str(home),
        "API_MODEL": str(model),
        "API_PORT": "PORT",
        "API_ACCESS_LOG": "false",
        "BACKEND": backend,
        "PRECISION": precision,
        "LOG_LEVEL": "warning",
    }
    told = {f"SWATH_{name}": value for name, value in settings.items()}
    return Server([sys.executable, "-m", "services.api"], {**_environment(), **told}, home)


def fastapi_server(model: Path, folder: Path, *, threads: int | None) -> Server:
    """FastAPI + torch, one image a call, computed by so many threads; None: as many as torch likes."""
    server = _peer("peer_fastapi", model, folder, sys.executable)
    if threads is not None:
        server.environment["OMP_NUM_THREADS"] = str(threads)
    return server


def litserve_server(model: Path, folder: Path, python: str) -> Server:
    """LitServe with batching."""
    return _peer("peer_litserve", model, folder, python)


def _peer(module: str, model: Path, folder: Path, python: str) -> Server:
    told = json.dumps({"model": str(model), "port": "PORT"})
    return Server([python, "-m", f"tests.bench.{module}", told], _environment(), folder)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("SWATH_", "GDAL_"))}


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _end(process: "subprocess.Popen[bytes]") -> None:
    """The whole group: LitServe has workers of its own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            continue
    process.wait(15)
