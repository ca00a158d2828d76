"""A small service for the page's tests: the contract of `v1/`, by a real scorer or by rote.

It sends the content security policy that the page has to live with, notes what was asked, and can
be told to answer with a problem, to change what it says, to want a key, or to keep someone waiting.
"""

import dataclasses
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from synthenticity.scoring.score import Score
from synthenticity.scoring.scorer import Scorer
from synthenticity.serve.page import load_page, page_policy

PAGE = load_page()
POLICY = page_policy(PAGE)
LIMITS = {
    "max_texts": 8,
    "max_text_characters": 20_000,
    "max_characters": 20_000,
    "max_body_bytes": 50_000,
}


@dataclass(frozen=True)
class Answer:
    """What is sent instead of a score."""

    status: int
    content: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


def problem(status: int, title: str, detail: str, **headers: str) -> Answer:
    content = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return Answer(status, content, {name.replace("_", "-"): word for name, word in headers.items()})


@dataclass
class PageService:
    """What the service knows, and what it is told to do."""

    scorer: Scorer
    url: str = ""
    weights: str = "3f9a6d1c0b7e4852a1d0c3b2e5f60718"
    thresholds: dict[str, float] = field(default_factory=dict)
    human: list[float] = field(default_factory=list)
    documents: int | None = None
    limits: dict[str, int] = field(default_factory=lambda: dict(LIMITS))
    key: str | None = None
    answer: Answer | None = None
    change: Callable[[Score], Score] = lambda score: score
    alter: Callable[[dict[str, Any]], dict[str, Any]] = lambda result: result
    asked: list[dict[str, Any]] = field(default_factory=list)
    open: threading.Event = field(default_factory=threading.Event)

    def model(self) -> dict[str, Any]:
        """Return what `GET /v1/model` says."""
        return {
            "name": "runs/scorer",
            "weights": self.weights,
            "block_size": self.scorer.window_tokens + 1,
            "window_tokens": self.scorer.window_tokens,
            "min_tokens": self.scorer.min_tokens,
            "head": "token",
            "calibrated": bool(self.thresholds),
            "thresholds": self.thresholds,
            "human": self.human,
            "human_documents": len(self.human) if self.documents is None else self.documents,
            "limits": self.limits,
        }

    def result(self, text: str) -> dict[str, Any]:
        """Return the one result of `POST /v1/score`."""
        score = self.change(self.scorer.score(text))
        alarms = {rate: score.uncalibrated > level for rate, level in self.thresholds.items()}
        return self.alter(dataclasses.replace(score, alarms=alarms).to_json())

    def reply(self, path: str, key: str | None, content: dict[str, Any] | None) -> Answer:
        if self.key is not None and key != f"Bearer {self.key}":
            return problem(401, "An API key is needed", "send it as a bearer token")
        if path == "/v1/model":
            return Answer(200, self.model())
        if path != "/v1/score" or content is None:
            return problem(404, "Not found", path)
        self.asked.append(content)
        self.open.wait(30)
        if self.answer is not None:
            return self.answer
        model = {"name": "runs/scorer", "weights": self.weights}
        return Answer(200, {"model": model, "results": [self.result(t) for t in content["texts"]]})


@contextmanager
def serving(service: PageService) -> Iterator[PageService]:
    """Serve the page and its service at a free port of this machine, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/":
                self.send(200, "text/html; charset=utf-8", PAGE, {})
            else:
                self.send_answer(None)

        def do_POST(self) -> None:
            self.send_answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def send_answer(self, content: dict[str, Any] | None) -> None:
            answer = service.reply(self.path, self.headers["Authorization"], content)
            kind = "application/json" if answer.status == 200 else "application/problem+json"
            self.send(answer.status, kind, json.dumps(answer.content).encode(), answer.headers)

        def send(self, status: int, kind: str, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            length = {"Content-Type": kind, "Content-Length": str(len(body))}
            policy = {"Content-Security-Policy": POLICY}
            for name, word in {**length, **policy, **headers}.items():
                self.send_header(name, word)
            self.end_headers()
            try:
                self.wfile.write(body)
            except ConnectionError:  # whoever asked has gone
                self.close_connection = True

        def log_message(self, *_arguments: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    service.url = f"http://127.0.0.1:{server.server_port}/"
    service.open.set()
    try:
        yield service
    finally:
        service.open.set()
        server.shutdown()
        thread.join()
        server.server_close()
