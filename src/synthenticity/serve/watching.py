"""`Watch`: every request has an id, is counted, timed and logged; no log holds what was sent.

Logs are JSON lines. An address that the server does not have is logged as `other`, a method that is
not HTTP's as `OTHER`: it could be anything. Of an exception they hold its type and where it was
raised, not its message; of what another library logs, where, not what.
"""

import asyncio
import datetime
import json
import logging
import re
import time
import traceback
import uuid
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from synthenticity.serve.counters import Counters
from synthenticity.serve.problems import GONE, ProblemError

logger = logging.getLogger(__name__)
REQUEST_ID = "X-Request-ID"
METHODS = {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}
GOOD_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
SAFE_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
UNREAD_BYTES, UNREAD_SECONDS = 2**23, 2.0
"""What is read of a body that is refused, so that the client, still sending, gets to see why."""


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, and a message or the fields of a request."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        fields: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            **_said_by(record),
        }
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            frames = traceback.extract_tb(error.__traceback__)
            fields["error"] = type(error).__name__
            fields["at"] = [f"{frame.filename}:{frame.lineno}" for frame in frames]
        return json.dumps(fields)


def _said_by(record: logging.LogRecord) -> dict[str, Any]:
    """Return what a record says; of one that is not ours only where it comes from."""
    if record.name.split(".")[0] == "synthenticity":
        return {"message": record.getMessage().strip(), **getattr(record, "fields", {})}
    where = {"logger": record.name, "at": [f"{record.pathname}:{record.lineno}"]}
    return {"message": "another library has logged something", **where}


def note_refused(counters: Counters) -> str:
    """Count and log a connection that is one too many; return the id of its answer."""
    request_id = uuid.uuid4().hex
    counters.requests.labels("other", "503").inc()
    fields = {"request_id": request_id, "status": 503}
    logger.info("a connection was refused: there are too many", extra={"fields": fields})
    return request_id


@dataclass
class Watch:
    """An application that is watched; `paths` are the addresses that it has."""

    app: ASGIApp
    counters: Counters
    paths: frozenset[str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, and note that."""
        if scope["type"] != "http":
            return
        exchange = _Exchange(scope, receive, send)
        try:
            await self.app(exchange.scope, exchange.receive, exchange.send)
        except Exception as error:
            logger.error("a request failed", exc_info=error, extra={"fields": exchange.named})
            if not exchange.status:
                failed = ProblemError(500, "The server failed; its log says where. Try again.")
                await failed.response()(exchange.scope, exchange.receive, exchange.send)
        finally:
            self._note(exchange)

    def _note(self, exchange: "_Exchange") -> None:
        path = exchange.scope["path"]
        path = path if path in self.paths else "other"
        seconds = time.perf_counter() - exchange.started
        status = exchange.status or GONE
        self.counters.requests.labels(path, str(status)).inc()
        self.counters.seconds.labels(path).observe(seconds)
        fields: dict[str, Any] = {
            **exchange.named,
            "method": exchange.method if exchange.method in METHODS else "OTHER",
            "path": path,
            "status": status,
            "milliseconds": round(1000 * seconds, 1),
            **{
                name: exchange.state[name]
                for name in ("texts", "characters")
                if name in exchange.state
            },
        }
        logger.info("request", extra={"fields": fields})


class _Exchange:
    """One request and its answer, as they pass."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self.started = time.perf_counter()
        self.state: dict[str, Any] = scope.setdefault("state", {})
        self.method = scope["method"]
        method = "GET" if self.method == "HEAD" else self.method  # the server sends no body then
        self.scope = {**scope, "method": method}
        headers = Headers(scope=scope)
        given = headers.get(REQUEST_ID, "")
        self.id = given if GOOD_ID.fullmatch(given) else uuid.uuid4().hex
        self.named = {"request_id": self.id}
        self.status = 0
        self._unread = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        self._expects = "expect" in headers

    async def receive(self) -> Message:
        """Receive a message."""
        message = await self._receive()
        self._unread = self._unread and bool(message.get("more_body", False))
        return message

    async def send(self, message: Message) -> None:
        """Send a message; that of the headers says which request it answers."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self._unread and not self._expects:
                await self._read_the_rest()
            headers = MutableHeaders(scope=message)
            for name, value in {**SAFE_HEADERS, REQUEST_ID: self.id}.items():
                headers[name] = value
            if self._unread:
                headers["Connection"] = "close"
        await self._send(message)

    async def _read_the_rest(self) -> None:
        read = 0
        try:
            async with asyncio.timeout(UNREAD_SECONDS):
                while self._unread and read < UNREAD_BYTES:
                    read += len((await self.receive()).get("body", b""))
        except TimeoutError:
            return
