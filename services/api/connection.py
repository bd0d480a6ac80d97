"""One connection: uvicorn's, with an end to how long and how large a request's head may become.

Its bodies are bounded by the routes, which see them only once a head is whole; before that nobody looks. A connection
that sends a byte a minute, or headers without an end, would cost a descriptor or memory for as long as it likes.
"""

import asyncio
from typing import ClassVar

from httptools import HttpParserError, HttpParserUpgrade
from starlette.types import Message
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.api.gate import Notes, Passage
from services.api.problems import Problem, problem_of, respond
from services.api.refusals import HeadError, HeadTooLargeError, TooSlowError
from services.core.errors import SwathError

#: Of one request's head. A token of an OpenID provider takes a few thousand bytes, everything else less.
HEAD_BYTES = 64 * 2**10
#: Before an idle connection is closed at the end: what its caller has sent by now is on its way, and is answered.
_LAST_CALL_S = 0.5


class Connection(HttpToolsProtocol):
    """uvicorn makes one per connection; see `connection_class`."""

    head_s: ClassVar[float]
    notes: ClassVar[Notes]
    _head_bytes = 0
    _may_be_large = False  #: a head that is whole by now has to be measured: what came may be more than its limit
    _is_large = False
    _is_invited = False  #: to another protocol, by the head that is whole by now
    _awaits_head = True  #: what comes next is no part of a body
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
        """Its last byte.

        Raises:
            HeadTooLargeError: For the parser, which goes no further and has us send a 400.
        """
        self._is_invited = self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"
        if self._is_invited:
            return  # it comes once more, without the invitation
        self._head_whole, self._awaits_head, self._head_bytes = True, False, 0
        self._cease_waiting()
        if self._may_be_large and _size(self.url, self.headers) > HEAD_BYTES:
            self._is_large = True
            raise _too_large()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A body's last byte."""
        if self._is_invited:
            return  # the parser's word, for it takes the body for another protocol's
        self._awaits_head = True
        self._cease_waiting()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer's last byte; what is left of a body that nobody wanted has as long as a head to pass."""
        super().on_response_complete()
        if not self._awaits_head and self._is_idle and not self.transport.is_closing():
            self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Bytes of a head, or of a body, which is none of our business here."""
        self._may_be_large = self._head_bytes + len(data) > HEAD_BYTES
        self._unset_keepalive_if_required()
        self._parse(data)
        if self.transport.is_closing():
            return
        if not self._head_whole:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(_too_large())
                return
        elif not self._is_idle:
            return
        self._wait_for_head()  # also after a mere line's end, or a body's that nobody wanted: uvicorn waits no more

    def _parse(self, data: bytes) -> None:
        """As uvicorn does, but an invitation to speak another protocol is declined by going on in this one.

        Source: RFC 9110, section 7.8.
        """
        while True:
            try:
                self.parser.feed_data(data)
            except HttpParserUpgrade as exc:
                if self._is_invited:
                    data = self._head_uninvited() + data[exc.args[0] :]
                    continue
            except HttpParserError:
                self.send_400_response("Invalid HTTP request received.")
            return

    def _head_uninvited(self) -> bytes:
        """The head that is whole by now, without its header `Upgrade`."""
        first = b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        kept = [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        return b"\r\n".join([first, *kept, b"", b""])

    def shutdown(self) -> None:
        """The end is near; a request that is answered from now on is its connection's last."""
        self.loop.call_later(_LAST_CALL_S, super().shutdown)

    def send_400_response(self, msg: str) -> None:
        """As a problem, like every other refusal."""
        self._refuse(_too_large() if self._is_large else HeadError(f"{msg.rstrip('.').lower()}; send HTTP/1.1"))

    @property
    def _is_idle(self) -> bool:
        """Whether nothing that was asked is unanswered."""
        return self.cycle is None or self.cycle.response_complete

    def _wait_for_head(self) -> None:
        if self._head_timer is None:
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
        if self.transport.is_closing():
            return
        passage = Passage({"method": "", "headers": self.headers or []}, _nowhere, ends=lambda: True)
        problem = problem_of(error, request_id=passage.request_id)
        passage.status = problem.status
        self.transport.write(_answer(problem, passage.request_id))
        self.transport.close()
        self.notes.write(passage)


def connection_class(head_s: float, notes: Notes) -> type[Connection]:
    """The protocol for uvicorn, whose settings know no such limit.

    Args:
        head_s: Seconds within which a head must be there, from the connection's first moment or the head's first byte.
        notes: Of what is refused here, before the gate has heard of it.
    """
    return type("Connection", (Connection,), {"head_s": head_s, "notes": notes})


async def _nowhere(message: Message) -> None:
    """What is refused here is written to the transport at once."""


def _too_large() -> HeadTooLargeError:
    return HeadTooLargeError(f"the head of the request is larger than {HEAD_BYTES} bytes; send less in it")


def _size(url: bytes, headers: list[tuple[bytes, bytes]]) -> int:
    """Bytes of a head, without its first and last few."""
    return len(url) + sum(len(name) + len(value) + len(": \r\n") for name, value in headers)


def _answer(problem: Problem, request_id: str) -> bytes:
    """The problem on the wire, without the application, which was never asked."""
    response = respond(problem)
    headers = [*response.raw_headers, (b"x-request-id", request_id.encode()), (b"connection", b"close")]
    first = f"HTTP/1.1 {problem.status} {problem.title}".encode()
    return b"\r\n".join([first, *(name + b": " + value for name, value in headers), b"", bytes(response.body)])
