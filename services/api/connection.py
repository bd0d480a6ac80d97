"""One connection: uvicorn's, with an end to how long and how large a request's head may become.

Its bodies are bounded by the routes, which see them only once a head is whole; before that nobody looks. A connection
that sends a byte a minute, or headers without an end, would cost a descriptor or memory for as long as it likes.
"""

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.api.problems import problem_of, respond
from services.api.refusals import HeadError, HeadTooLargeError, TooSlowError
from services.core.errors import SwathError

#: Of one request's head. A token of an OpenID provider takes a few thousand bytes, everything else less.
HEAD_BYTES = 64 * 2**10


class Connection(HttpToolsProtocol):
    """uvicorn makes one per connection; see `connection_class`."""

    head_s: ClassVar[float]
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None
    _head_whole = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """It has until then to send a head."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more is waited for."""
        self._cease_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A head's first byte."""
        super().on_message_begin()
        self._head_whole, self._head_bytes = False, 0

    def on_headers_complete(self) -> None:
        """Its last byte."""
        self._head_whole = True
        self._cease_waiting()
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Bytes of a head, or of a body, which is none of our business here."""
        super().data_received(data)
        if self._head_whole or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES:
            self._refuse(HeadTooLargeError(f"the head of a request may have {HEAD_BYTES} bytes"))
        elif self._head_timer is None:
            self._wait_for_head()

    def send_400_response(self, msg: str) -> None:
        """As a problem, like every other refusal."""
        self._refuse(HeadError(f"{msg.rstrip('.').lower()}; send HTTP/1.1"))

    def _wait_for_head(self) -> None:
        self._head_timer = self.loop.call_later(self.head_s, self._lose_patience)

    def _cease_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _lose_patience(self) -> None:
        if self._head_bytes:
            self._refuse(TooSlowError(f"the head of the request was not there after {self.head_s:g} s; send it again"))
        else:
            self.transport.close()  # nothing was asked, so nothing is answered

    def _refuse(self, error: SwathError) -> None:
        self._cease_waiting()
        if not self.transport.is_closing():
            self.transport.write(_answer(error))
            self.transport.close()


def connection_class(head_s: float) -> type[Connection]:
    """The protocol for uvicorn, whose settings know no such limit.

    Args:
        head_s: Seconds within which a head must be there, from the connection's first moment or the head's first byte.
    """
    return type("Connection", (Connection,), {"head_s": head_s})


def _answer(error: SwathError) -> bytes:
    """The problem on the wire, without the application, which was never asked."""
    problem = problem_of(error)
    response = respond(problem)
    headers = [*response.raw_headers, (b"connection", b"close")]
    first = f"HTTP/1.1 {problem.status} {problem.title}".encode()
    return b"\r\n".join([first, *(name + b": " + value for name, value in headers), b"", bytes(response.body)])
