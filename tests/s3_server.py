"""Real S3 servers on this machine, and a proxy that breaks the line to them.

`run_s3_server()` starts versitygw where it is on PATH, else moto's server; each in a process of its own.
"""

import http.server
import importlib.util
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import boto3.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from services.core.settings import Settings

HOST = "127.0.0.1"


def available_kinds() -> list[str]:
    """The servers that can be started here, the stricter first."""
    kinds = ["versitygw"] if shutil.which("versitygw") else []
    return [*kinds, "moto"] if importlib.util.find_spec("moto") else kinds


@dataclass(kw_only=True)
class S3Server:
    """One running server with one bucket. `kill` and `start` again to rehearse a crash (versitygw keeps its data)."""

    kind: str
    folder: Path
    port: int
    bucket: str = "swath-test"
    access_key: str = "swathtestkey"
    secret_key: str = "swath-test-secret-0123456789"
    _process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def endpoint_url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to reach this server and nothing else."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "SWATH_S3_ENDPOINT_URL": self.endpoint_url,
            "SWATH_S3_REGION": "us-east-1",
            "SWATH_S3_ADDRESSING_STYLE": "path",
        }

    def settings(self, **overrides: object) -> Settings:
        """Settings for this server; credentials come from the environment."""
        values = {"s3_endpoint_url": self.endpoint_url, "s3_region": "us-east-1", "s3_addressing_style": "path"}
        return Settings(**{**values, "s3_attempts": 3, "s3_timeout_s": 10, **overrides})

    def start(self) -> None:
        """Start the process and make the bucket."""
        command = {
            "versitygw": ["versitygw", "--quiet", "--port", f"{HOST}:{self.port}", "posix", str(self.folder)],
            "moto": [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(self.port)],
        }[self.kind]
        keys = {"ROOT_ACCESS_KEY": self.access_key, "ROOT_SECRET_KEY": self.secret_key}
        self._process = subprocess.Popen(
            command, env={**os.environ, **keys}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._make_bucket()

    def kill(self) -> None:
        """SIGKILL, as a lost node would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _make_bucket(self) -> None:
        client = boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, connect_timeout=2),
        )
        deadline = time.monotonic() + 120
        while True:
            try:
                client.create_bucket(Bucket=self.bucket)
            except ClientError as exc:
                if exc.response["Error"]["Code"] in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                    return
                raise
            except BotoCoreError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return


def free_port() -> int:
    """A port nobody listens on now."""
    with closing(socket.socket()) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def run_s3_server(kind: str | None = None) -> Iterator[S3Server]:
    """A server with an empty bucket until the block ends; `kind` None takes the first that is available."""
    with tempfile.TemporaryDirectory(prefix="swath-s3-", ignore_cleanup_errors=True) as folder:
        server = S3Server(kind=kind or available_kinds()[0], folder=Path(folder), port=free_port())
        try:
            server.start()
            yield server
        finally:
            server.kill()


class FaultyProxy:
    """A TCP proxy to one port: goes away and comes back on demand, breaks off answers, adds TLS."""

    def __init__(self, target_port: int, *, tls: ssl.SSLContext | None = None) -> None:
        self.port = free_port()
        self._target_port = target_port
        self._tls = tls
        self._lock = threading.Lock()
        self._cut_after = 0
        self._cuts_left = 0
        self.cuts_made = 0
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()

    @property
    def endpoint_url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{HOST}:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen, on the same port every time."""
        self._listener = socket.create_server((HOST, self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        """Refuse new connections and break the open ones."""
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        with self._lock:
            broken, self._open = self._open, set()
        for sock in broken:
            _break(sock)

    def cut_answers(self, *, after_bytes: int, times: int) -> None:
        """Break the next `times` connections that have answered so many bytes."""
        with self._lock:
            self._cut_after, self._cuts_left = after_bytes, times

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            if self._tls:
                client = self._tls.wrap_socket(client, server_side=True)
            server = socket.create_connection((HOST, self._target_port))
        except OSError:
            client.close()
            return
        with self._lock:
            self._open |= {client, server}
        threading.Thread(target=self._pump, args=(client, server), daemon=True).start()
        self._pump(server, client, answers=True)
        with self._lock:
            self._open -= {client, server}
        client.close()
        server.close()

    def _pump(self, source: socket.socket, sink: socket.socket, *, answers: bool = False) -> None:
        sent = 0
        with suppress(OSError):
            while data := source.recv(2**16):
                keep = self._bytes_to_keep(sent, len(data)) if answers else len(data)
                sink.sendall(data[:keep])
                sent += keep
                if keep < len(data):
                    break
        _break(source)
        _break(sink)

    def _bytes_to_keep(self, sent: int, arrived: int) -> int:
        with self._lock:
            if not self._cuts_left or sent + arrived <= self._cut_after:
                return arrived
            self._cuts_left -= 1
            self.cuts_made += 1
            return max(0, self._cut_after - sent)


def _break(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


class CannedS3:
    """An endpoint that answers every request with one S3 error, and counts the requests."""

    def __init__(self, status: int, code: str) -> None:
        self.requests = 0
        canned = self

        class Answer(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                canned.requests += 1
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = f"<Error><Code>{code}</Code><Message>canned</Message></Error>".encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = answer  # noqa: N815  # http.server's names

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._server = http.server.ThreadingHTTPServer((HOST, 0), Answer)
        self._server.daemon_threads = True
        self.endpoint_url = f"http://{HOST}:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
