"""Logs are JSON lines that name each request and never hold what was sent, whatever fails."""

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest
from serving import SCORE, GatedScorer, ready, served, until

from synthenticity.serve.counters import Counters
from synthenticity.serve.watching import JsonLines, note_refused

SECRET = "xyzzy-plugh"


class Lines(logging.Handler):
    """Keeps lines as they would be written."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonLines())
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))

    def of(self, request: str) -> dict[str, object]:
        """Return the line that a request ended with."""

        def found() -> list[dict[str, object]]:
            made = [json.loads(line) for line in self.lines]
            return [m for m in made if m.get("request_id") == request and "status" in m]

        until(found)
        return found()[0]


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, root, own = Lines(), logging.getLogger(), logging.getLogger("synthenticity.serve")
    root.addHandler(handler)
    own.setLevel(logging.INFO)
    yield handler
    own.setLevel(logging.NOTSET)
    root.removeHandler(handler)


def test_a_request_is_one_line_that_says_all_but_the_text(lines: Lines) -> None:
    scorer = GatedScorer()
    scorer.gate.set()
    with served(scorer) as it:
        ready(it.service)
        headers = {"X-Request-ID": "mine-1"}
        answer = it.client.post(SCORE, json={"texts": [SECRET, "x"]}, headers=headers)
    assert answer.headers["X-Request-ID"] == "mine-1"
    line = lines.of("mine-1")
    assert line.pop("time") and line.pop("milliseconds") > 0  # type: ignore[operator]
    assert line == {
        "level": "info",
        "message": "request",
        "request_id": "mine-1",
        "method": "POST",
        "path": SCORE,
        "status": 200,
        "texts": 2,
        "characters": len(SECRET) + 1,
    }


@pytest.mark.parametrize("given", ["a b", "x" * 65, "", 'a"', "é"])
def test_an_id_that_could_harm_a_log_is_replaced(given: str) -> None:
    with served(GatedScorer()) as it:
        headers = {"X-Request-ID": given.encode("latin-1")}
        answers = [it.client.get("/healthz", headers=headers) for _ in range(2)]
    ids = {answer.headers["X-Request-ID"] for answer in answers}
    assert len(ids) == 2 and given not in ids
    assert all(len(each) == 32 for each in ids)


def test_no_log_and_no_count_holds_what_was_sent(
    lines: Lines, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = GatedScorer()
    scorer.gate.set()
    with served(scorer) as it:
        ready(it.service)
        send = it.client.post
        statuses = [
            it.ask(f"fatal {SECRET}").status_code,
            it.ask(SECRET).status_code,
            send(SCORE, json={SECRET: SECRET}).status_code,
            send(SCORE, content=f'{{"texts": {SECRET}').status_code,
            send(SCORE, json={"texts": [{"a": SECRET}]}).status_code,
            send(f"/{SECRET}?text={SECRET}", json={"texts": [SECRET]}).status_code,
            it.client.request(SECRET, SCORE).status_code,
        ]

        def broken(*_arguments: object) -> bytes:
            raise ValueError(SECRET)

        monkeypatch.setattr("synthenticity.serve.addresses.scores_answer", broken)
        failed = it.ask("x")
        assert failed.headers["Content-Type"] == "application/problem+json"
        statuses.append(failed.status_code)
        monkeypatch.undo()
        assert it.ask("x").status_code == 200
        counts = it.client.get("/metrics").text
        lines.of(it.client.get("/healthz").headers["X-Request-ID"])
    assert statuses == [500, 200, 422, 415, 422, 404, 405, 500]
    assert sum('"method": "OTHER"' in line for line in lines.lines) == 1
    failures = [json.loads(line) for line in lines.lines if '"error"' in line]
    assert [each["error"] for each in failures] == ["RuntimeError", "ValueError"]
    assert all(any("serving.py" in at or "test_logs.py" in at for at in f["at"]) for f in failures)
    said = "".join([*lines.lines, counts, *capfd.readouterr(), failed.text])
    assert SECRET not in said


def test_what_another_library_logs_is_said_to_be_there_and_not_repeated(lines: Lines) -> None:
    loop = asyncio.new_event_loop()
    loop.create_future().set_exception(ValueError(SECRET))  # forgotten: asyncio complains
    loop.close()
    logging.getLogger("uvicorn.error").warning("%s", SECRET)
    forgotten, warned = [json.loads(line) for line in lines.lines]
    assert (forgotten["logger"], forgotten["error"]) == ("asyncio", "ValueError")
    assert (warned["logger"], warned["level"]) == ("uvicorn.error", "warning")
    assert warned["at"] == [f"{__file__}:{warned['at'][0].split(':')[-1]}"]
    assert SECRET not in "".join(lines.lines)


def test_a_connection_that_is_refused_has_its_line(lines: Lines) -> None:
    counters = Counters()
    request = note_refused(counters)
    line = lines.of(request)
    assert line["status"] == 503 and "connection was refused" in str(line["message"])
    assert b'requests_total{path="other",status="503"} 1.0' in counters.text()
