"""Errors as RFC 9457 has them: JSON that says what kind, what happened, and what to do.

Nothing of what a client sent stands in one. Whatever a library answers as an error in plain text
becomes such a problem, too, so a client needs one way to read errors.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PROBLEM_TYPE = "application/problem+json"
GONE = 499
"""What is logged of a client that did not wait for its answer; nobody receives it."""
TITLES = {
    400: "The request is malformed",
    401: "The API key is missing or wrong",
    404: "There is nothing here",
    405: "The method is not for this address",
    408: "The body came too slowly",
    413: "The body is too large",
    415: "The body is no JSON",
    422: "The request asks for what cannot be done",
    429: "Too much is in hand already",
    GONE: "The client is gone",
    500: "The server failed",
    503: "The server takes no work now",
    504: "It took too long",
}


class ProblemError(Exception):
    """An answer that is an error; `detail` says what to do."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})

    def response(self) -> Response:
        """Return it as a response."""
        content = json.dumps(problem(self.status, self.detail)).encode()
        return Response(content, self.status, self.headers, PROBLEM_TYPE)


def problem(status: int, detail: str) -> dict[str, Any]:
    """Return the content of a problem.

    >>> problem(404, "Ask for /v1/score.")["type"]
    'urn:synthenticity:problem:not-found'
    """
    phrase = "client-gone" if status == GONE else HTTPStatus(status).phrase
    return {
        "type": f"urn:synthenticity:problem:{phrase.lower().replace(' ', '-')}",
        "title": TITLES.get(status, phrase),
        "status": status,
        "detail": detail,
    }


@dataclass(frozen=True)
class AsProblems:
    """An application whose errors are problems; `details` says of a status what to do."""

    app: ASGIApp
    details: Mapping[int, str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        replaced = False

        async def sending(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and _is_bare_error(message):
                replaced = True
                status = message["status"]
                detail = self.details.get(status, "See /openapi.json.")
                await ProblemError(status, detail).response()(scope, receive, send)
            elif not replaced:
                await send(message)

        await self.app(scope, receive, sending)


def _is_bare_error(start: Message) -> bool:
    kinds = [value for name, value in start["headers"] if name.lower() == b"content-type"]
    return start["status"] >= 400 and kinds != [PROBLEM_TYPE.encode()]
