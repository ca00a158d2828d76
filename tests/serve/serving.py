"""A server in a thread of the tests, with the real scorer or with one that waits to be let on."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from synthenticity.scoring.score import Score
from synthenticity.serve.application import Access
from synthenticity.serve.limits import Limits
from synthenticity.serve.model import ServedModel
from synthenticity.serve.server import Server, address_of, open_socket, serve_until_stopped
from synthenticity.serve.service import Service

WAIT = 30.0
SCORE = "/v1/score"
FACTS = {
    "head": "cls",
    "block_size": 8,
    "window_tokens": 7,
    "min_tokens": 1,
    "calibrated": False,
    "thresholds": {},
    "human": [],
    "human_documents": 0,
}


@dataclass
class GatedScorer:
    """Scores a text by its length, when its gate is open; keeps what it was given at once."""

    batches: list[list[str]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    def score(self, texts: list[str]) -> list[Score]:
        self.batches.append(list(texts))
        assert self.gate.wait(WAIT)
        if any("fatal" in text for text in texts):
            raise RuntimeError(f"cannot score {texts}")
        return [
            Score(text, len(text) / 1e6, (0, 1), 0.5, None, np.zeros((1, 2), int), None, 0.0)
            for text in texts
        ]


@dataclass
class Served:
    """A server that runs."""

    url: str
    service: Service
    server: Server
    client: httpx.Client

    @property
    def port(self) -> int:
        return httpx.URL(self.url).port or 0

    def ask(self, *texts: str, **options: object) -> httpx.Response:
        return self.client.post(SCORE, json={"texts": texts, **options})


@contextmanager
def served(
    scorer: object = None,
    limits: Limits | None = None,
    access: Access | None = None,
    load: Callable[[], ServedModel] | None = None,
) -> Iterator[Served]:
    """Serve within; at the end, stop well."""
    load = load or (lambda: ServedModel("fake", "0" * 32, scorer, FACTS))
    service = Service(load, limits or Limits(grace_seconds=5))
    with open_socket("127.0.0.1", 0) as listener:
        url = address_of(listener)
        listening = threading.Event()
        server = Server(service, access or Access(), listening.set)
        thread = threading.Thread(target=serve_until_stopped, args=(server, service, listener))
        thread.start()
        try:
            assert listening.wait(WAIT)
            with httpx.Client(base_url=url, timeout=WAIT) as client:
                yield Served(url, service, server, client)
        finally:
            if isinstance(scorer, GatedScorer):
                scorer.gate.set()
            service.drain()
            thread.join(WAIT)
            assert not thread.is_alive()


def ready(service: Service) -> None:
    until(lambda: service.state == "ready")


def until(condition: Callable[[], object]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@dataclass
class Command:
    """`synthenticity serve` in a process of its own."""

    process: subprocess.Popen[str]
    url: str
    log: Path

    def ended(self) -> tuple[int, str, str]:
        """Wait for its end; return its exit code, what else it said, and its log."""
        said, _ = self.process.communicate(timeout=WAIT)
        return self.process.returncode, said, self.log.read_text(encoding="utf-8")


@contextmanager
def command(run: Path, log: Path, port: int = 0) -> Iterator[Command]:
    """Run it within, its standard error in a file: a pipe that nobody reads would stop it."""
    words = ["serve", str(run), "--device", "cpu", "--port", str(port)]
    with (
        log.open("w") as file,
        subprocess.Popen(
            [sys.executable, "-m", "synthenticity", *words],
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            yield Command(process, next(word for word in line.split() if "://" in word), log)
        finally:
            process.kill()


def until_ready(url: str) -> None:
    with httpx.Client(timeout=WAIT) as client:
        until(lambda: client.get(f"{url}readyz").status_code == 200)


def together(*calls: Callable[[], httpx.Response]) -> list["Waiting"]:
    """Begin calls, each in a thread of its own."""
    return [Waiting(call) for call in calls]


class Waiting:
    """A call in a thread."""

    def __init__(self, call: Callable[[], httpx.Response]) -> None:
        self._answer: httpx.Response | None = None
        self._call = call
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._answer = self._call()

    def answer(self) -> httpx.Response:
        self._thread.join(WAIT)
        assert self._answer is not None
        return self._answer


def problem_of(answer: httpx.Response) -> dict[str, object]:
    """Return the problem that an answer is, checked for what all must have."""
    assert answer.headers["Content-Type"] == "application/problem+json"
    content = json.loads(answer.content)
    assert content.keys() == {"type", "title", "status", "detail"}
    assert content["status"] == answer.status_code
    assert content["type"].startswith("urn:synthenticity:problem:")
    assert answer.headers["X-Request-ID"]
    return dict(content)
