"""What a client may not do is refused with a problem that says what to do, and costs little."""

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from serving import SCORE, WAIT, GatedScorer, Served, problem_of, ready, served, together, until

from synthenticity.serve import patience
from synthenticity.serve.limits import Limits

JSON = {"Content-Type": "application/json"}
LIMITS = Limits(
    max_texts=3,
    max_text_characters=20,
    max_characters=40,
    max_body_bytes=1000,
)


@pytest.fixture(scope="module")
def small() -> Iterator[Served]:
    scorer = GatedScorer()
    scorer.gate.set()
    with served(scorer, LIMITS) as it:
        ready(it.service)
        yield it


def body_of(texts: object, **more: object) -> bytes:
    return json.dumps({"texts": texts, **more}).encode()


@pytest.mark.parametrize(
    ("status", "body", "detail"),
    [
        (400, b"", "no JSON at character 0"),
        (400, b'{"texts": ["a"]', "no JSON at character 15"),
        (400, b'{"texts": ["a"]} x', "Extra data"),
        (400, b'{"texts": ["\xff"]}', "Byte 12 is not UTF-8"),
        (400, b"\xff\xfe" + '{"texts": ["a"]}'.encode("utf-16-le"), "is not UTF-8"),
        (400, b'{"texts": ["a\nb"]}', "Invalid control character"),
        (400, b'{"texts": NaN}', "NaN and Infinity are no JSON"),
        (400, b'{"texts": ["a"], "texts": ["b"]}', "names a field twice"),
        (422, b"[]", "is no object"),
        (422, b"7", "is no object"),
        (422, b"9" * 990, "is no object"),
        (422, b"{}", "texts: is missing"),
        (422, b'{"texts": "a"}', "texts: is no list"),
        (422, b'{"texts": 1e999}', "texts: is no list"),
        (422, body_of([]), "Send 1 to 3"),
        (422, body_of(["a"] * 4), "texts: are 4. Send 1 to 3"),
        (422, body_of(["a", 1]), "texts[1]: is no string"),
        (422, body_of(["a", None]), "texts[1]: is no string"),
        (422, body_of(["a", "b" * 21]), "texts[1]: has 21 characters. A text may have 20"),
        (422, body_of(["a" * 20] * 3), "have 60 characters. A request may have 40"),
        (422, b'{"texts": ["a\\ud800b"]}', "texts[0]: holds half a surrogate pair"),
        (422, body_of(["a"], token=True), "1 unknown field"),
        (422, body_of(["a"], tokens=1), "tokens: is neither true nor false"),
        (422, body_of(["a"], sentences=None), "sentences: is neither true nor false"),
        (413, body_of(["a" * 1000]), "may have 1000 bytes"),
    ],
)
def test_a_body_that_asks_for_nothing_that_can_be_done(
    small: Served, status: int, body: bytes, detail: str
) -> None:
    answer = small.client.post(SCORE, content=body, headers=JSON)
    assert answer.status_code == status
    assert detail in str(problem_of(answer)["detail"])


def test_limits_are_reached_exactly(small: Served) -> None:
    assert small.ask("\U0001f600" * 20, "a" * 20).status_code == 200
    body = body_of(["a"])
    full = body + b" " * (1000 - len(body))
    assert small.client.post(SCORE, content=full, headers=JSON).status_code == 200
    assert small.client.post(SCORE, content=full + b" ", headers=JSON).status_code == 413


@pytest.mark.parametrize("body", [b"[" * 999, b'{"a":' * 199, b'{"texts":' + b"[" * 990])
def test_deep_nesting_is_no_trouble(small: Served, body: bytes) -> None:
    answer = small.client.post(SCORE, content=body, headers=JSON)
    assert answer.status_code == 400
    problem_of(answer)


def test_nesting_of_a_body_s_whole_length_is_no_trouble() -> None:
    scorer = GatedScorer()
    scorer.gate.set()
    with served(scorer) as it:
        ready(it.service)
        for body in (b"[" * 2**21, b'{"a":' * 400_000, b"[],".join([b"["] + [b""] * 600_000)):
            answer = it.client.post(SCORE, content=body, headers=JSON)
            assert answer.status_code == 400
        answer = it.client.post(SCORE, content=b"1" * 2**21, headers=JSON)
        assert answer.status_code == 422
        assert it.ask("x").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/json; charset=latin-1"},
        {**JSON, "Content-Encoding": "gzip"},
    ],
)
def test_what_is_no_json_by_its_header_is_415(small: Served, headers: dict[str, str]) -> None:
    answer = small.client.post(SCORE, content=body_of(["a"]), headers=headers)
    assert answer.status_code == 415
    problem_of(answer)


def test_json_may_name_its_charset(small: Served) -> None:
    headers = {"Content-Type": 'Application/JSON; charset="UTF-8"'}
    assert small.client.post(SCORE, content=body_of(["a"]), headers=headers).status_code == 200


def test_addresses_and_methods_that_are_not_there(small: Served) -> None:
    missing = small.client.get("/v1/scores")
    assert missing.status_code == 404 and "/v1/score" in str(problem_of(missing)["detail"])
    assert small.client.post(f"{SCORE}/", json={}).status_code == 404
    wrong = small.client.get(SCORE)
    assert wrong.status_code == 405 and wrong.headers["Allow"] == "POST"
    problem_of(wrong)


def test_a_body_without_a_length_is_cut_off_at_the_limit(small: Served) -> None:
    """A client that sends without end is heard to at most 8 MiB, or for two seconds."""
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 2**27:
            sent += 2**16
            yield b" " * 2**16

    try:
        answer = small.client.post(SCORE, content=endless(), headers=JSON)
        assert answer.status_code == 413
    except httpx.TransportError:  # the server ended the connection while the client was sending
        pass
    assert sent < 2**26
    assert small.ask("x").status_code == 200


def test_a_longer_body_is_refused_and_its_connection_goes_on(small: Served) -> None:
    def parts() -> Iterator[bytes]:
        yield from [b" " * 500] * 5

    answer = small.client.post(SCORE, content=parts(), headers=JSON)
    assert answer.status_code == 413
    problem_of(answer)
    assert "close" not in answer.headers.get("Connection", "")


@contextmanager
def connection(it: Served, *sent: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", it.port), timeout=WAIT) as line:
        for part in sent:
            line.sendall(part)
        yield line


def heard(line: socket.socket) -> bytes:
    """Return all that a server says until it ends the connection."""
    parts = []
    while part := line.recv(2**16):
        parts.append(part)
    return b"".join(parts)


HEAD = b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def test_a_slow_body_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synthenticity.serve.watching.UNREAD_SECONDS", 0.1)
    with served(GatedScorer(), Limits(body_seconds=0.3)) as it:
        ready(it.service)
        with connection(it, HEAD, b"Content-Length: 100\r\n\r\n", b'{"texts"') as line:
            said = heard(line)
        assert said.startswith(b"HTTP/1.1 408 ")
        assert b"problem+json" in said and b"0.3 s" in said
        assert it.service.may_take_on == it.service.limits.max_requests


def test_slow_headers_are_not_waited_for_however_they_trickle(
    small: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "HEADER_SECONDS", 0.5)
    many = [socket.create_connection(("127.0.0.1", small.port), timeout=WAIT) for _ in range(50)]
    deadline = time.monotonic() + WAIT
    left = set(many)
    while left:
        assert time.monotonic() < deadline
        for line in list(left):
            try:
                line.sendall(b"X")  # never an end of the line
            except OSError:
                left.remove(line)
                line.close()
        time.sleep(0.05)
    assert small.ask("x").status_code == 200


def test_a_client_that_leaves_within_its_body_leaves_nothing_behind(small: Served) -> None:
    with connection(small, HEAD, b"Content-Length: 100\r\n\r\n", b'{"texts"'):
        until(lambda: small.service.may_take_on < LIMITS.max_requests)
    until(lambda: small.service.may_take_on == LIMITS.max_requests)


def test_what_is_no_http_is_400(small: Served) -> None:
    with connection(small, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n") as line:
        assert heard(line).startswith(b"HTTP/1.1 400 ")


def test_no_more_requests_are_in_hand_than_may_be() -> None:
    scorer = GatedScorer()
    with served(scorer, Limits(max_requests=3)) as it:
        ready(it.service)
        calls = together(*[lambda: it.ask("x")] * 3)
        until(lambda: it.service.may_take_on == 0)
        refused = it.ask("x")
        assert refused.status_code == 429
        assert int(refused.headers["Retry-After"]) >= 1
        problem_of(refused)
        scorer.gate.set()
        assert [call.answer().status_code for call in calls] == [200] * 3
        until(lambda: it.service.may_take_on == 3)
        assert it.ask("x").status_code == 200


def test_no_more_characters_are_in_hand_than_may_be() -> None:
    scorer = GatedScorer()
    limits = Limits(max_text_characters=60, max_characters=60, max_characters_in_hand=100)
    with served(scorer, limits) as it:
        ready(it.service)
        first = together(lambda: it.ask("x" * 60))
        until(lambda: scorer.batches)
        refused = it.ask("y" * 41)
        assert refused.status_code == 429
        problem_of(refused)
        second = together(lambda: it.ask("z" * 40))
        until(lambda: it.service.room.waiting() == (1, 1))
        scorer.gate.set()
        assert [call.answer().status_code for call in (*first, *second)] == [200, 200]
        assert it.ask("y" * 41).status_code == 200


def test_no_more_connections_are_open_than_may_be() -> None:
    scorer = GatedScorer()
    with served(scorer, Limits(max_connections=2)) as it:
        ready(it.service)
        assert it.client.get("/healthz").status_code == 200
        with connection(it), connection(it) as line:
            said = heard(line)
        assert said.startswith(b"HTTP/1.1 503 ") and b"problem+json" in said
        assert re.search(rb"\r\nX-Request-ID: [0-9a-f]{32}\r\n", said)
        until(lambda: httpx.get(f"{it.url}healthz").status_code == 200)
        counts = it.client.get("/metrics").text
    assert 'synthenticity_requests_total{path="other",status="503"}' in counts


def test_a_request_that_takes_too_long_is_504_and_what_is_left_of_it_is_skipped() -> None:
    scorer = GatedScorer()
    with served(scorer, Limits(answer_seconds=2.0)) as it:
        ready(it.service)
        first = together(lambda: it.ask("first"))
        until(lambda: scorer.batches)
        late = it.ask("late", "and late")
        assert late.status_code == first[0].answer().status_code == 504
        assert "2 s" in str(problem_of(late)["detail"])
        scorer.gate.set()
        assert it.ask("good").status_code == 200
        assert it.service.room.skipped == 2
    assert scorer.batches == [["first"], ["good"]]


def test_the_work_of_a_client_that_is_gone_is_skipped() -> None:
    scorer = GatedScorer()
    with served(scorer) as it:
        ready(it.service)
        first = together(lambda: it.ask("first"))
        until(lambda: scorer.batches)
        body = body_of(["gone"])
        with connection(it, HEAD, b"Content-Length: %d\r\n\r\n" % len(body), body):
            until(lambda: it.service.room.waiting() == (1, 1))
        until(lambda: it.service.may_take_on == it.service.limits.max_requests - 1)
        scorer.gate.set()
        assert first[0].answer().status_code == 200
        assert it.ask("good").status_code == 200
        assert 'status="499"' in it.client.get("/metrics").text
    assert scorer.batches == [["first"], ["good"]]


def test_a_client_that_does_not_take_its_answer_does_not_keep_it_in_hand() -> None:
    class Wide(GatedScorer):
        def score(self, texts: list[str]) -> list[object]:
            class Huge:
                offsets: tuple[()] = ()

                def facts(self) -> dict[str, str]:
                    return {"text": "x" * 2**26}

            super().score(texts)
            return [Huge() for _ in texts]

    scorer = Wide()
    scorer.gate.set()
    limits = Limits(body_seconds=1.0)
    with served(scorer, limits) as it:
        ready(it.service)
        body = body_of(["x"])
        with connection(it, HEAD, b"Content-Length: %d\r\n\r\n" % len(body), body) as line:
            until(lambda: len(scorer.batches) == 1)
            until(lambda: it.service.may_take_on == limits.max_requests)
            assert len(heard(line)) < 2**26
