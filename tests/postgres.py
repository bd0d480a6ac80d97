"""A private PostgreSQL server for tests, and `catalog_url`: an empty catalog on SQLite, then on PostgreSQL.

A test module asks for these fixtures by `pytest_plugins = ["tests.postgres"]`, and may import this module as well:
that is what PYTEST_DONT_REWRITE here is for.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

PASSWORD = "correct horse battery staple"


class PostgresServer:
    """One server in a folder of its own, on a socket there and on a free port of 127.0.0.1."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        self._folder, self._binaries = folder, binaries
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        # PostgreSQL refuses to run as root.
        self._user = next((name for name in ("postgres", "nobody") if os.geteuid() == 0 and _exists(name)), None)
        if self._user:
            shutil.chown(folder, self._user)

    def init(self) -> None:
        """Make the cluster: passwords over TCP, trust over the socket."""
        password = self._folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        data = str(self._folder / "data")
        command = [
            *(str(self._binaries / "initdb"), "-D", data, "-U", "swath", "--encoding=UTF8", "--locale=C", "--no-sync"),
            *("--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={password}"),
        ]
        subprocess.run(command, check=True, user=self._user, capture_output=True, cwd="/")

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self._folder,
            "fsync": "off",
            "max_connections": 60,
            "shared_buffers": "32MB",
        }
        command = [str(self._binaries / "postgres"), "-D", str(self._folder / "data")]
        command += [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, user=self._user, stdout=log, stderr=log, cwd="/")
        deadline = time.monotonic() + 120
        while True:
            try:
                self.run("SELECT 1")
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    pytest.fail(f"PostgreSQL did not start:\n{(self._folder / 'log').read_text()[-2000:]}")
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """Stop at once, as a crash does."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(timeout=120)

    def run(self, statement: str) -> None:
        """Run one statement in the `postgres` database."""
        with psycopg.connect(
            host=str(self._folder), port=self.port, user="swath", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(statement)  # type: ignore[call-overload]

    def new_database(self) -> str:
        """The address of an empty database."""
        name = f"swath_{uuid.uuid4().hex[:12]}"
        self.run(f"CREATE DATABASE {name}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Remove what `new_database` made, whoever is still connected."""
        self.run(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def url(self, database: str, *, user: str = "swath", password: str = PASSWORD) -> str:
        """An address over TCP, with its password."""
        return f"postgresql://{user}:{password.replace(' ', '%20')}@127.0.0.1:{self.port}/{database}"


@contextmanager
def run_postgres() -> Iterator[PostgresServer]:
    """A server that is gone afterwards; skips where Debian's package is absent, but never in CI."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if not folders:
        stop = pytest.fail if os.environ.get("CI") else pytest.skip
        stop("no PostgreSQL server program; install Debian's package postgresql")
    with tempfile.TemporaryDirectory(prefix="swath-pg-", dir="/tmp") as folder:
        server = PostgresServer(Path(folder), folders[-1])
        server.init()
        try:
            server.start()
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for the whole session; each test takes a `new_database`."""
    with run_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def catalog_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty catalog, on each database in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'catalog' / 'swath.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    url = server.new_database()
    yield url
    server.drop_database(url)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _exists(user: str) -> bool:
    import pwd

    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True
