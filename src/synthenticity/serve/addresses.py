"""What each address of the server answers.

Bodies are read by us, not by FastAPI, which would hold whatever comes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from synthenticity.serve.answers import (
    ModelAnswer,
    Scores,
    StateAnswer,
    as_json,
    model_answer,
    scores_answer,
)
from synthenticity.serve.described import SCORE_PROBLEMS, problems, request_body
from synthenticity.serve.page import load_page, page_policy
from synthenticity.serve.reading import read_request
from synthenticity.serve.service import Hand, Service

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PART = 2**16
"""Bytes of an answer that are given to a connection at once, and that it may hold."""
Endpoint = Callable[[Request], Awaitable[Response]]


class Addresses:
    """The endpoints of a service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._page = load_page()
        self._policy = page_policy(self._page)

    def add_to(self, api: FastAPI) -> None:
        """Add them to an application."""
        body = request_body(self._service.limits)
        scored = {200: _ok(Scores), **problems(*SCORE_PROBLEMS)}
        _add(api, "POST", "/v1/score", self.score, scored, openapi_extra=body)
        _add(api, "GET", "/v1/model", self.model, {200: _ok(ModelAnswer), **problems(503)})
        _add(api, "GET", "/healthz", self.health, {200: _ok(StateAnswer)})
        _add(api, "GET", "/readyz", self.ready, {200: _ok(StateAnswer), **problems(503)})
        _add(api, "GET", "/metrics", self.metrics, {}, response_class=PlainTextResponse)
        _add(api, "GET", "/", self.page, {}, response_class=HTMLResponse)

    async def score(self, request: Request) -> Response:
        """Score texts; each result is what `Scorer` says of the text alone."""
        self._service.ready_model()
        hand = self._service.take_in_hand()
        try:
            return await self._scored(request, hand)
        except BaseException:
            hand.release()
            raise

    async def _scored(self, request: Request, hand: Hand) -> Response:
        service = self._service
        with service.room.arriving():
            asked = read_request(await service.bodies.read(request), service.limits)
            request.state.texts, request.state.characters = len(asked.texts), asked.characters
            model = service.ready_model()
            job = service.admit(hand, asked)
        scores = await service.scores(job, request)
        parts = scores_answer(model, scores, asked)
        long = asked.tokens or asked.sentences
        content = await service.written(job, request, parts, long=long)
        return HeldResponse(content, hand, service.limits.body_seconds)

    async def model(self, _request: Request) -> Response:
        """Say which model scores, what its values mean, and how much may be asked."""
        model = self._service.ready_model()
        return _json(model_answer(model, self._service.limits))

    async def health(self, _request: Request) -> Response:
        """Say that the process lives."""
        return _json(as_json({"status": "alive"}))

    async def ready(self, _request: Request) -> Response:
        """Say whether work is taken: the model is loaded, and the server not about to stop."""
        self._service.ready_model()
        return _json(as_json({"status": "ready"}))

    async def metrics(self, _request: Request) -> Response:
        """Give all counts, as Prometheus reads them."""
        content = self._service.counters.text()
        return Response(content, headers={"Content-Type": METRICS_TYPE})

    async def page(self, _request: Request) -> Response:
        """Show a page on which to score a text."""
        headers = {"Content-Security-Policy": self._policy, "Cache-Control": "no-cache"}
        return Response(self._page, headers=headers, media_type="text/html")


class HeldResponse(Response):
    """An answer that is sent in parts, and whose request is in hand until a client has taken it."""

    media_type = "application/json"

    def __init__(self, content: bytes, hand: Hand, seconds: float) -> None:
        super().__init__(content, headers={"Cache-Control": "no-store"})
        self._hand, self._seconds = hand, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; a client that does not take it in time loses its connection."""
        try:
            async with asyncio.timeout(self._seconds):
                headers = {"status": self.status_code, "headers": self.raw_headers}
                await send({"type": "http.response.start", **headers})
                for start in range(0, len(self.body), PART):
                    part = bytes(self.body[start : start + PART])
                    more = start + PART < len(self.body)
                    await send({"type": "http.response.body", "body": part, "more_body": more})
        finally:
            self._hand.release()


def _json(content: bytes) -> Response:
    return Response(content, headers={"Cache-Control": "no-store"}, media_type="application/json")


def _ok(model: Any) -> dict[str, Any]:
    return {"model": model, "description": (model.__doc__ or "").strip()}


def _add(
    api: FastAPI,
    method: str,
    path: str,
    endpoint: Endpoint,
    responses: dict[int | str, dict[str, Any]],
    **options: Any,
) -> None:
    options.setdefault("response_class", JSONResponse)
    api.add_api_route(
        path, endpoint, methods=[method], responses=responses, response_model=None, **options
    )
