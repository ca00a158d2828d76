"""uvicorn's HTTP/1.1 with an end to its patience: for headers, and for the number of connections.

uvicorn waits for headers for ever, and a thousand clients that send a byte a minute would leave no
connection for others. Bodies and answers have their time elsewhere (`BodyReader`, `HeldResponse`).
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from synthenticity.serve.problems import PROBLEM_TYPE, problem
from synthenticity.serve.watching import REQUEST_ID

HEADER_SECONDS = 10.0
"""A client must have sent the headers of a request so long after their first byte."""


def patient_protocol(most_connections: int, note_refused: Callable[[], str]) -> type[H11Protocol]:
    """Return the protocol of a server that takes on so many connections.

    Args:
        most_connections: more are refused.
        note_refused: is called for each that is refused; gives the id that its answer bears.

    """

    class Bounded(PatientProtocol):
        """The protocol of this server."""

        most = most_connections
        note = staticmethod(note_refused)

    return Bounded


class PatientProtocol(H11Protocol):
    """HTTP/1.1 that hears at most `most` clients, and waits some seconds for their headers."""

    most = 0
    note: Callable[[], str] = staticmethod(str)
    _header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin, or refuse at once if there are too many connections."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            transport.write(_refused_connection(self.note()))
            transport.close()
        else:
            self._await_headers()

    def data_received(self, data: bytes) -> None:
        """Take what came; the first byte of a request lets the time run."""
        super().data_received(data)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_headers(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
        elif self._header_timer is None:
            self._header_timer = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _give_up(self) -> None:
        self._header_timer = None
        self.timeout_keep_alive_handler()


def _refused_connection(request_id: str) -> bytes:
    content = json.dumps(problem(503, "There are too many connections. Try again.")).encode()
    head = (
        "HTTP/1.1 503 Service Unavailable\r\n"
        f"Content-Type: {PROBLEM_TYPE}\r\nContent-Length: {len(content)}\r\n"
        f"{REQUEST_ID}: {request_id}\r\nRetry-After: 5\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + content
