"""Told to stop, a server finishes what it has accepted; killed, it never answered wrongly."""

import contextlib
import json
import shutil
import signal
import threading
from pathlib import Path

import httpx
import pytest
from serving import (
    WAIT,
    GatedScorer,
    command,
    problem_of,
    ready,
    served,
    together,
    until,
    until_ready,
)

from synthenticity import cli
from synthenticity.scoring.scorer import Scorer
from synthenticity.serve.limits import Limits

TEXTS = [f"the king and his fool went to a hall {'where night fell ' * n}" for n in range(40)]


def test_while_it_drains_it_finishes_what_it_has_and_takes_no_more() -> None:
    scorer = GatedScorer()
    with served(scorer) as it:
        ready(it.service)
        first = together(lambda: it.ask("first"))
        until(lambda: scorer.batches)
        second = together(lambda: it.ask("second"))
        until(lambda: it.service.room.waiting() == (1, 1))
        it.service.drain()
        for answer in (it.client.get("/readyz"), it.ask("late"), it.client.get("/v1/model")):
            assert answer.status_code == 503
            assert "about to stop" in str(problem_of(answer)["detail"])
        assert it.client.get("/healthz").status_code == 200
        scorer.gate.set()
        assert [call.answer().status_code for call in (*first, *second)] == [200, 200]
        until(lambda: not it.server.servers[0].is_serving())
    assert scorer.batches == [["first"], ["second"]]


@pytest.mark.parametrize("twice", [False, True])
def test_it_does_not_drain_longer_than_it_may(twice: bool) -> None:
    scorer = GatedScorer()
    limits = Limits(grace_seconds=WAIT if twice else 0.2)
    with served(scorer, limits) as it:
        ready(it.service)
        stuck = together(lambda: it.ask("stuck"))
        until(lambda: scorer.batches)
        it.service.drain()
        if twice:
            it.service.drain()
        answer = stuck[0].answer()  # while the scorer is still at work
        assert answer.status_code == 503
        assert "about to stop" in str(problem_of(answer)["detail"])


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_signal_ends_it_well_with_every_accepted_request_answered(
    scorer_path: Path, tmp_path: Path, number: signal.Signals
) -> None:
    with command(scorer_path, tmp_path / "log") as it:
        until_ready(it.url)
        address = f"{it.url}v1/score"

        def ask() -> httpx.Response:
            return httpx.post(address, json={"texts": TEXTS}, timeout=WAIT)

        calls = together(ask, ask, ask)
        until(lambda: "synthenticity_requests_in_hand 3.0" in httpx.get(f"{it.url}metrics").text)
        it.process.send_signal(number)
        code, said, log = it.ended()
        assert [call.answer().status_code for call in calls] == [200] * 3
    assert code == cli.GOOD, log
    assert said == ""  # after the line that says the address
    assert [line for line in log.splitlines() if not isinstance(json.loads(line), dict)] == []


def test_a_model_that_cannot_be_loaded_ends_it_with_a_line(
    scorer_path: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "run"
    shutil.copytree(scorer_path, broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with command(broken, tmp_path / "log") as it:
        code, _, log = it.ended()
    assert code == cli.USER_ERROR
    assert "Traceback" not in log
    assert log.splitlines()[-1].startswith(f"synthenticity: {broken}: ")


def test_no_address_is_said_where_there_is_no_scorer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["serve", str(tmp_path), "--port", "0"]) == cli.USER_ERROR
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"synthenticity: {tmp_path}: holds no trained scorer")


class Clients:
    """Threads that ask for scores, one after the other, whatever becomes of the server."""

    def __init__(self, address: str, count: int) -> None:
        self.good: list[tuple[int, dict[str, object]]] = []
        self.other: list[int] = []
        self._address = address
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def _ask(self, number: int) -> None:
        with httpx.Client(timeout=WAIT) as client:
            while not self._over.wait(0.02):
                number = (number + 7) % len(TEXTS)
                with contextlib.suppress(httpx.TransportError):
                    self._note(number, client.post(self._address, json={"texts": [TEXTS[number]]}))

    def _note(self, number: int, answer: httpx.Response) -> None:
        if answer.status_code == 200:
            self.good.append((number, answer.json()["results"][0]))
        else:
            self.other.append(answer.status_code)

    def answered(self, more: int) -> None:
        """Wait until so many more were answered."""
        before = len(self.good)
        until(lambda: len(self.good) >= before + more)

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(WAIT)


@pytest.mark.slow
def test_killed_under_load_and_started_again_every_answer_was_right(
    scorer_path: Path, tmp_path: Path
) -> None:
    scorer = Scorer.from_pretrained(scorer_path, device="cpu")
    right = [score.to_json(tokens=False, sentences=False) for score in scorer.score(TEXTS)]
    with command(scorer_path, tmp_path / "first") as it:
        port = httpx.URL(it.url).port or 0
        until_ready(it.url)
        clients = Clients(f"{it.url}v1/score", 5)
        try:
            clients.answered(20)
            it.process.kill()
            assert it.process.wait(WAIT) == -signal.SIGKILL
            with command(scorer_path, tmp_path / "second", port) as again:
                until_ready(again.url)
                clients.answered(20)
                clients.stop()
        finally:
            clients.stop()
    assert all(result == right[number] for number, result in clients.good)
    assert set(clients.other) <= {503}  # while the second was starting
