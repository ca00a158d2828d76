"""What a client sends, read within bounds of bytes, time and depth, and checked as a whole.

Lengths that a client announces decide nothing but an early refusal; what comes is counted. Numbers
and nesting cost no more than their bytes. Messages say where something is wrong, never what it was.
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from synthenticity.serve.limits import Limits
from synthenticity.serve.problems import GONE, ProblemError

OPTIONS = ("tokens", "sentences")


@dataclass(frozen=True)
class Asked:
    """What a request asks for."""

    texts: list[str]
    tokens: bool = False
    sentences: bool = False

    @property
    def characters(self) -> int:
        """Characters of all texts."""
        return sum(map(len, self.texts))


class BodyReader:
    """Reads bodies; of all that are read at the same time, at most `most_read_bytes` are held."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = 0

    async def read(self, request: Request) -> bytes:
        """Return a body.

        Raises:
            ProblemError: it is no JSON by its header, too large, too slow, or too many are read.

        """
        _check_headers(request, self._limits.max_body_bytes)
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                with self._holding() as body:
                    async for part in _parts(request):
                        self._hold(body, part)
                    return bytes(body)
        except TimeoutError:
            raise ProblemError(
                408,
                f"The body was not there after {self._limits.body_seconds:g} s. Send it faster.",
            ) from None

    @contextmanager
    def _holding(self) -> Iterator[bytearray]:
        body = bytearray()
        try:
            yield body
        finally:
            self._held -= len(body)

    def _hold(self, body: bytearray, part: bytes) -> None:
        if len(body) + len(part) > self._limits.max_body_bytes:
            raise _too_large(self._limits.max_body_bytes)
        if self._held + len(part) > self._limits.most_read_bytes:
            raise ProblemError(
                429, "Too many bodies are being read. Try again soon.", {"Retry-After": "1"}
            )
        self._held += len(part)
        body += part


async def _parts(request: Request) -> Any:
    """Yield the parts of a body as they come."""
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ProblemError(GONE, "The client left while it sent its body.")
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


def _check_headers(request: Request, most_bytes: int) -> None:
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if kind.strip().lower() != "application/json" or charset not in {"", "charset=utf-8"}:
        raise ProblemError(415, "Send the body as Content-Type: application/json, in UTF-8.")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise ProblemError(415, "Send the body without Content-Encoding.")
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and (len(announced) > 18 or int(announced) > most_bytes):
        raise _too_large(most_bytes)


def _too_large(most_bytes: int) -> ProblemError:
    return ProblemError(
        413, f"A body may have {most_bytes} bytes. Send fewer or shorter texts at once."
    )


def read_request(body: bytes, limits: Limits) -> Asked:
    """Return what a body asks for.

    Raises:
        ProblemError: 400 if it is no JSON object, 422 if it asks for what cannot be done.

    """
    content = _parse(body)
    if not isinstance(content, dict):
        raise ProblemError(422, 'The body is no object. Send {"texts": ["..."]}.')
    unknown = content.keys() - {"texts", *OPTIONS}
    if unknown:
        raise ProblemError(
            422,
            f"The body has {len(unknown)} unknown field(s). Send texts, and tokens or sentences.",
        )
    for name in OPTIONS:
        if not isinstance(content.get(name, False), bool):
            raise ProblemError(422, f"{name}: is neither true nor false.")
    if "texts" not in content:
        raise ProblemError(422, 'texts: is missing. Send {"texts": ["..."]}.')
    _check_texts(content["texts"], limits)
    return Asked(**content)


def _parse(body: bytes) -> Any:
    try:
        return json.loads(
            body.decode("utf-8"),
            parse_int=float,  # no field is a number: one of a million digits need not be exact
            parse_constant=_refuse_constant,
            object_pairs_hook=_object_of,
        )
    except UnicodeDecodeError as error:
        what = f"Byte {error.start} is not UTF-8"
    except json.JSONDecodeError as error:
        what = f"It is no JSON at character {error.pos}: {error.msg}"
    except RecursionError:
        what = "It is nested too deeply"
    except _RefusedError as error:
        what = str(error)
    raise ProblemError(400, f"The body cannot be read. {what}. Send one JSON object.")


class _RefusedError(Exception):
    """Something is JSON to Python, but not to others."""


def _refuse_constant(_name: str) -> Any:
    raise _RefusedError("NaN and Infinity are no JSON")


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise _RefusedError("An object names a field twice")
    return content


def _check_texts(texts: Any, limits: Limits) -> None:
    if not isinstance(texts, list):
        raise ProblemError(422, "texts: is no list. Send a list of strings.")
    if not 1 <= len(texts) <= limits.max_texts:
        raise ProblemError(
            422, f"texts: are {len(texts)}. Send 1 to {limits.max_texts} in a request."
        )
    total = 0
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise ProblemError(422, f"texts[{number}]: is no string.")
        if len(text) > limits.max_text_characters:
            raise ProblemError(
                422,
                f"texts[{number}]: has {len(text)} characters. A text may have "
                f"{limits.max_text_characters}; cut it, or use synthenticity score.",
            )
        if _has_surrogate(text):
            raise ProblemError(
                422, f"texts[{number}]: holds half a surrogate pair, which is no character."
            )
        total += len(text)
    if total > limits.max_characters:
        raise ProblemError(
            422,
            f"texts: have {total} characters. A request may have {limits.max_characters}; "
            "send several.",
        )


def _has_surrogate(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
