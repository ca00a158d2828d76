"""What is answered is what `Scorer` says, to the bit, whoever asks at the same time."""

import base64
import dataclasses
import hashlib
import json
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serving import FACTS, SCORE, GatedScorer, Served, ready, served, together, until

from synthenticity.scoring.calibration import Calibration, weights_fingerprint
from synthenticity.scoring.scorer import Scorer
from synthenticity.serve.limits import Limits
from synthenticity.serve.model import ServedModel, load_served_model

TEXTS = [
    "the king and his fool went to a hall where night fell on stone; " * 3,
    "who speaks? not I!",
    "t",
    "",
    "\u05e9" * 40,
    "the king \U0001f600 went.\n\nnot I! " * 5,
]


@pytest.fixture(scope="module")
def real(scorer_path: Path) -> Iterator[Served]:
    with served(load=lambda: load_served_model(scorer_path, device="cpu")) as it:
        ready(it.service)
        yield it


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("sentences", [False, True])
def test_every_figure_is_the_scorer_s_to_the_bit(
    real: Served, scorer_path: Path, tokens: bool, sentences: bool
) -> None:
    scorer = Scorer.from_pretrained(scorer_path, device="cpu")
    answer = real.ask(*TEXTS, tokens=tokens, sentences=sentences)
    assert answer.status_code == 200
    assert "NaN" not in answer.text and "Infinity" not in answer.text
    content = answer.json()
    assert content["model"] == {
        "name": scorer_path.name,
        "weights": weights_fingerprint(scorer_path),
    }
    alone = [scorer.score(text).to_json(tokens=tokens, sentences=sentences) for text in TEXTS]
    assert content["results"] == alone
    assert ("tokens" in content["results"][0]) is tokens
    assert ("sentences" in content["results"][0]) is sentences


def test_what_is_no_number_is_null_and_its_reason_is_said(real: Served) -> None:
    result = real.ask("").json()["results"][0]
    assert result["synthenticity"] is result["logit"] is None
    assert result["abstained"] == "is empty: it has no token"


def test_an_infinite_logit_is_null() -> None:
    class Certain(GatedScorer):
        def score(self, texts: list[str]) -> list[object]:
            return [dataclasses.replace(s, uncalibrated=1.0) for s in super().score(texts)]

    scorer = Certain()
    scorer.gate.set()
    assert math.isinf(scorer.score(["x"])[0].logit)
    with served(scorer) as it:
        ready(it.service)
        assert it.ask("x").json()["results"][0]["logit"] is None


def test_the_model_says_what_its_values_mean(scorer_path: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(scorer_path, tmp_path / "mine"))
    weights = weights_fingerprint(run)
    made = Calibration(weights, thresholds={"0.05": 0.25}, human=(0.1, 0.2, 0.3))
    made.save(run)
    limits = Limits(max_texts=3)
    with served(load=lambda: load_served_model(run, device="cpu"), limits=limits) as it:
        ready(it.service)
        about = it.client.get("/v1/model").json()
    scorer = Scorer.from_pretrained(run, device="cpu")
    assert about == {
        "name": "mine",
        "weights": weights,
        "head": "token",
        "block_size": scorer.model.config.block_size,
        "window_tokens": scorer.window_tokens,
        "min_tokens": scorer.min_tokens,
        "calibrated": True,
        "thresholds": {"0.05": 0.25},
        "human": [0.1, 0.2, 0.3],
        "human_documents": 3,
        "limits": {
            "max_texts": 3,
            "max_text_characters": limits.max_text_characters,
            "max_characters": limits.max_characters,
            "max_body_bytes": limits.max_body_bytes,
        },
    }


def test_the_model_says_how_many_human_documents_its_quantiles_stand_for(
    scorer_path: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(scorer_path, tmp_path / "mine"))
    about = {"human": {"documents": 12_000}}
    Calibration(weights_fingerprint(run), human=(0.1, 0.2), about=about).save(run)
    assert load_served_model(run, device="cpu").about["human_documents"] == 12_000


def test_it_abstains_of_fewer_tokens_than_it_is_told(scorer_path: Path) -> None:
    def load() -> ServedModel:
        return load_served_model(scorer_path, device="cpu", min_tokens=6)

    with served(load=load) as it:
        ready(it.service)
        assert it.client.get("/v1/model").json()["min_tokens"] == 6
        short, long = it.ask("the k", "the ki").json()["results"]
    assert short["abstained"] == "too short: 5 tokens, of fewer than 6 nothing is known"
    assert long["abstained"] is None


def test_requests_that_wait_together_are_scored_together() -> None:
    scorer = GatedScorer()
    with served(scorer) as it:
        ready(it.service)
        first = together(lambda: it.ask("first"))
        until(lambda: scorer.batches)
        texts = [f"text {'x' * n}" for n in range(5)]
        others = together(*[lambda text=text: it.ask(text, text + "!") for text in texts])
        until(lambda: it.service.room.waiting() == (5, 10))
        assert "synthenticity_queue_texts 10.0" in it.client.get("/metrics").text
        scorer.gate.set()
        for text, other in zip(["first", *texts], [*first, *others], strict=True):
            results = other.answer().json()["results"]
            wanted = [len(text), len(text) + 1][: len(results)]
            assert [each["characters"] for each in results] == wanted
            assert [each["synthenticity"] for each in results] == [n / 1e6 for n in wanted]
        counts = it.client.get("/metrics").text
    assert [len(batch) for batch in scorer.batches] == [1, 10]
    assert 'synthenticity_batch_requests_bucket{le="1.0"} 1.0' in counts
    assert "synthenticity_batch_requests_sum 6.0" in counts
    assert "synthenticity_batch_texts_sum 11.0" in counts
    assert "synthenticity_texts_total 11.0" in counts
    characters = sum(len(text) for batch in scorer.batches for text in batch)
    assert f"synthenticity_characters_total {characters}.0" in counts
    assert 'synthenticity_requests_total{path="/v1/score",status="200"} 6.0' in counts


def test_a_batch_of_one_text_merges_nothing() -> None:
    scorer = GatedScorer()
    with served(scorer, Limits(batch_texts=1)) as it:
        ready(it.service)
        calls = together(*[lambda n=n: it.ask("x" * n, "y" * n) for n in range(1, 4)])
        until(lambda: sum(it.service.room.waiting()) == 3 + 5)
        scorer.gate.set()
        assert {call.answer().status_code for call in calls} == {200}
    assert [len(batch) for batch in scorer.batches] == [1] * 6


def test_a_text_on_which_the_scorer_fails_fails_alone() -> None:
    scorer = GatedScorer()
    with served(scorer) as it:
        ready(it.service)
        first = together(lambda: it.ask("first"))
        until(lambda: scorer.batches)
        good, bad = together(lambda: it.ask("good"), lambda: it.ask("fatal"))
        until(lambda: it.service.room.waiting() == (2, 2))
        scorer.gate.set()
        assert first[0].answer().status_code == good.answer().status_code == 200
        assert bad.answer().status_code == 500
        assert it.ask("after").status_code == 200


def test_the_page_is_html_that_may_load_nothing(real: Served) -> None:
    answer = real.client.get("/")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "<!doctype html>" in answer.text.lower()
    policy = dict(
        part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert policy["img-src"] == "data:"
    for name in ("script", "style"):
        (own,) = re.findall(f"<{name}.*?>(.*?)</{name}>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert policy[f"{name}-src"] == f"'sha256-{digest}'"
    assert "src=" not in answer.text.replace('src="data:', "")


def test_nothing_that_is_described_loads_from_elsewhere_and_head_has_no_body(real: Served) -> None:
    assert real.client.get("/docs").status_code == 404
    assert real.client.get("/openapi.json").json()["paths"].keys() == {
        *("/", "/v1/score", "/v1/model", "/healthz", "/readyz", "/metrics"),
    }
    head = real.client.head("/v1/model")
    assert head.status_code == 200 and head.content == b""


def test_it_lives_before_it_is_ready() -> None:
    scorer = GatedScorer()

    def load() -> ServedModel:
        assert scorer.gate.wait(30)
        return ServedModel("fake", "", scorer, FACTS)

    with served(scorer, load=load) as it:
        assert it.client.get("/healthz").json() == {"status": "alive"}
        for answer in (it.client.get("/readyz"), it.client.get("/v1/model"), it.ask("x")):
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) > 0
            assert "being loaded" in answer.json()["detail"]
        scorer.gate.set()
        ready(it.service)
        assert it.client.get("/readyz").json() == {"status": "ready"}
        assert it.ask("x").status_code == 200


def test_a_long_answer_is_whole(real: Served, scorer_path: Path) -> None:
    """It is sent in parts of 64 KiB, and its client reads slowly."""
    text = TEXTS[0] * 100
    with real.client.stream("POST", SCORE, json={"texts": [text], "tokens": True}) as answer:
        parts = list(answer.iter_raw(10_000))
    assert len(b"".join(parts)) > 2**20
    scorer = Scorer.from_pretrained(scorer_path, device="cpu")
    result = json.loads(b"".join(parts))["results"][0]
    assert result == scorer.score(text).to_json(sentences=False)
    assert isinstance(answer, httpx.Response)
