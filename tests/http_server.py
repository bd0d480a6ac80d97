"""An HTTP server on this machine, for as long as a test needs it."""

import http.server
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def answering(handler: Callable[..., http.server.BaseHTTPRequestHandler], **told: Any) -> Iterator[str]:
    """The address at which a handler answers; `told` are attributes of its server."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    for name, value in told.items():
        setattr(server, name, value)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
