"""A long answer is written in its request's time, and others are answered meanwhile."""

import json
import socket
import threading
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from serving import WAIT, GatedScorer, problem_of, ready, served, together, until

from synthenticity.scoring.score import Score
from synthenticity.serve import addresses, answers
from synthenticity.serve.limits import Limits

LONGEST = Limits().max_text_characters
TEXT = ("the king went. " * LONGEST)[:LONGEST]


class TokenScorer(GatedScorer):
    """Scores every character as a token."""

    def __init__(self) -> None:
        super().__init__()
        self.gate.set()

    def score(self, texts: list[str]) -> list[Score]:
        super().score(texts)
        return [score_of(text) for text in texts]


def score_of(text: str) -> Score:
    offsets = np.array(list(pairwise(range(len(text) + 1)))).reshape(-1, 2)
    logits = np.random.default_rng(0).normal(size=len(text)).astype(np.float32)
    return Score(text, 0.5, (0.25, 0.75), 0.5, None, offsets, logits, 0.0)


class Lockstep:
    """Writes an answer a part at a time, each when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.parts: list[int] = []
        self.ended = threading.Event()
        self._told, self._waits = threading.Semaphore(0), threading.Semaphore(0)
        monkeypatch.setattr(addresses, "scores_answer", self._write)

    def waits(self) -> bool:
        """Wait until it waits; return False if it has come to its end instead."""
        assert self._waits.acquire(timeout=WAIT)
        return not self.ended.is_set()

    def tell(self) -> None:
        self._told.release()

    def _write(self, *given: object) -> Iterator[bytes]:
        try:
            for part in answers.scores_answer(*given):  # type: ignore[arg-type]
                self.parts.append(len(part))
                self._waits.release()
                assert self._told.acquire(timeout=WAIT)
                yield part
        finally:
            self.ended.set()
            self._waits.release()


def test_between_all_parts_of_a_long_answer_others_are_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    writer = Lockstep(monkeypatch)
    with served(TokenScorer()) as it:
        ready(it.service)
        (call,) = together(lambda: it.ask(TEXT, tokens=True, sentences=True))
        while writer.waits():
            assert it.client.get("/healthz").status_code == 200
            writer.tell()
        answer = call.answer()
    assert json.loads(answer.content)["results"] == [score_of(TEXT).to_json()]
    assert len(answer.content) > 2**23
    assert len(writer.parts) > 100 and max(writer.parts) < 2**18


def test_an_answer_that_is_not_written_in_time_is_504_and_no_longer_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    writer = Lockstep(monkeypatch)
    with served(TokenScorer(), Limits(answer_seconds=1.0)) as it:
        ready(it.service)
        late = it.ask("x" * 9999, tokens=True)
        assert late.status_code == 504 and "1 s" in str(problem_of(late)["detail"])
        writer.tell()
        assert writer.ended.wait(WAIT) and len(writer.parts) == 1
        assert it.service.may_take_on == it.service.limits.max_requests
        monkeypatch.undo()
        assert it.ask("x", tokens=True).status_code == 200


def test_an_answer_whose_client_is_gone_is_no_longer_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    writer = Lockstep(monkeypatch)
    body = json.dumps({"texts": ["x" * 9999], "tokens": True}).encode()
    head = f"Host: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with served(TokenScorer()) as it:
        ready(it.service)
        with socket.create_connection(("127.0.0.1", it.port), timeout=WAIT) as line:
            line.sendall(b"POST /v1/score HTTP/1.1\r\n" + head.encode() + body)
            assert writer.waits()
        until(lambda: 'status="499"' in it.client.get("/metrics").text)
        writer.tell()
        assert writer.ended.wait(WAIT) and len(writer.parts) == 1
        assert it.service.may_take_on == it.service.limits.max_requests


def test_what_is_no_number_is_null_in_every_list() -> None:
    logits = np.array([1.0, np.nan], dtype=np.float32)
    score = Score("a.", 0.5, (0, 1), 0.5, None, np.array([[0, 1], [1, 2]]), logits, 0.0)
    (sentence,) = written([score])["results"][0]["sentences"]
    assert sentence["probability"] is None
    assert [each["probability"] for each in written([score])["results"][0]["tokens"]][1] is None


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("characters", [0, 1, 1023, 1024, 1025, 2048])
def test_parts_are_the_whole_however_many_stretches_there_are(
    characters: int, tokens: bool
) -> None:
    scores = [score_of("x" * characters), score_of("")]
    wanted = [each.to_json(tokens=tokens) for each in scores]
    assert written(scores, tokens=tokens)["results"] == wanted


def written(scores: list[Score], *, tokens: bool = True) -> dict[str, list[dict[str, list]]]:
    model = answers.ServedModel("fake", "0", GatedScorer())
    asked = answers.Asked([], tokens=tokens, sentences=True)
    return json.loads(b"".join(answers.scores_answer(model, scores, asked)))
