"""The process around the application: one listening socket, and an end that loses no request."""

import asyncio
import gc
import logging
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import FrameType
from typing import Any

import uvicorn

from services.api.app import create_app
from services.api.connection import connection_class
from services.api.gate import Notes
from services.api.options import ApiOptions
from services.api.runtime import Runtime, Served
from services.core.errors import ConfigError
from services.core.log import get_logger
from services.core.raster.cache import block_cache
from services.core.settings import Settings
from services.core.site import Site

log = get_logger(__name__)

Announce = Callable[[str, Served], None]

_BACKLOG = 1024
_KEEP_ALIVE_S = 30
#: GDAL's own default is a twentieth of the machine, container or not.
_CACHE_BYTES = 32 * 2**20
#: After which the loop has given the listening socket up.
_CLOSING_S = 0.05


def serve(site: Site, options: ApiOptions | None = None, *, announce: Announce | None = None) -> None:
    """Answer until SIGTERM or Ctrl-C, then finish what is under way and return.

    After the first signal /health/ready says 503 while requests are still taken (`SWATH_API_LINGER_S`, so that whoever
    sends them can notice); then no new connections, and what is under way is answered (`SWATH_API_DRAIN_S`). A second
    signal skips the first part.

    Args:
        site: Open; the caller closes it.
        options: See `create_app`.
        announce: Told the URL and the model, once requests are answered.

    Raises:
        ConfigError: The address cannot be listened on.
        SwathError: The model cannot be loaded.
    """
    settings = site.settings
    app = create_app(site, options)
    with _listen(settings) as listener, block_cache(_CACHE_BYTES):
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http=connection_class(settings.api_timeout_s, Notes(settings, app.state.metrics)),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            # A header that anybody can send must not decide whose limit is charged.
            proxy_headers=bool(settings.api_proxies),
            forwarded_allow_ips=settings.api_proxies,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=settings.api_drain_s,
        )
        _adopt_log()
        server = _Server(config, app.state.runtime, linger_s=settings.api_linger_s)
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(_run(server, listener, announce))


async def _run(server: "_Server", listener: socket.socket, announce: Announce | None) -> None:
    """The model first: uvicorn would turn an error of ours into a traceback of its own."""
    asyncio.get_running_loop().set_default_executor(_LeftBehind())
    await server.runtime.start()
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    server.announce = lambda: _announce(url, server.runtime.served, announce)
    await server.serve(sockets=[listener])
    log.info("stopped; nothing is under way")


class _LeftBehind(ThreadPoolExecutor):
    """Threads that the loop's end does not wait for: a catalog or a provider that hangs may have them."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """What nobody began is not begun."""
        del wait, cancel_futures
        super().shutdown(wait=False, cancel_futures=True)


def _announce(url: str, served: Served, announce: Announce | None) -> None:
    log.info("answering", url=url, model=served.package.contract.name, digest=served.package.digest)
    if announce is not None:
        announce(url, served)
    # What is alive now stays alive: a collection that walks it would show in the slowest answers.
    gc.collect()
    gc.freeze()
    gc.enable()  # `python -m services.api` starts without


class _Server(uvicorn.Server):
    """uvicorn's, but for what a signal does."""

    def __init__(self, config: uvicorn.Config, runtime: Runtime, *, linger_s: float) -> None:
        super().__init__(config)
        self.runtime = runtime
        self.announce: Callable[[], None] = lambda: None
        self._linger_s = linger_s
        self._leave_at_s = float("inf")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        self.announce()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal begins the end; uvicorn's own would close the door at once and then kill itself with it."""
        del sig, frame
        if self.runtime.draining:
            self._leave_at_s = 0.0
            return
        self.runtime.draining = True
        self._leave_at_s = time.monotonic() + self._linger_s

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the door behind those who stand in it: the kernel has let them in, and would break off with them."""
        doors = [each.dup() for each in sockets or []]
        for server in self.servers:
            server.close()
        for each in sockets or []:
            each.close()
        await asyncio.sleep(_CLOSING_S)
        for caller in (caller for door in doors for caller in _last_of(door)):
            await asyncio.get_running_loop().connect_accepted_socket(self._connect, caller)
        await super().shutdown()

    def _connect(self) -> asyncio.Protocol:
        protocol: Any = self.config.http_protocol_class
        connection: asyncio.Protocol = protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return connection

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to go."""
        return await super().on_tick(counter) or time.monotonic() >= self._leave_at_s


def _listen(settings: Settings) -> socket.socket:
    host, port = settings.api_host, settings.api_port
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as exc:
        raise ConfigError(
            f"{host} port {port} cannot be listened on ({exc.strerror}); choose another with --port or SWATH_API_PORT"
        ) from exc


def _last_of(door: socket.socket) -> list[socket.socket]:
    """Whoever has knocked; closes the door."""
    callers = []
    door.settimeout(0)
    with door, suppress(OSError):  # nobody is left, or there is no descriptor for them
        while True:
            callers.append(door.accept()[0])
            callers[-1].settimeout(0)
    return callers


class _ToOurs(logging.Handler):
    """uvicorn's complaints as lines of our log."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        log.log(record.levelno, record.getMessage(), source=record.name, exc_info=record.exc_info)


def _adopt_log() -> None:
    logger = logging.getLogger("uvicorn")
    logger.setLevel(logging.WARNING)
    logger.handlers = [_ToOurs()]
    logger.propagate = False
