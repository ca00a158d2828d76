"""What the server answers: the fields of each answer, documented, and scores as JSON.

A figure is written as Python writes a float, so it is read back to the same bits. What is no finite
number (of a text without known tokens) is null. Scores are written in parts of at most 1,024
stretches, because nothing else in the process runs while one part becomes JSON.
"""

import json
import math
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from synthenticity.scoring.score import Score, Stretch
from synthenticity.serve.limits import Limits
from synthenticity.serve.model import ServedModel
from synthenticity.serve.reading import Asked

Share = Annotated[float, Field(ge=0, le=1)]
STRETCHES_AT_ONCE = 1024


class Answer(BaseModel):
    """Something with these fields and no others."""

    model_config = ConfigDict(extra="forbid")


class ModelName(Answer):
    """Which model answered."""

    name: Annotated[str, Field(description="Of its folder.")]
    weights: Annotated[str, Field(description="Fingerprint of its weights and settings.")]


class StretchAnswer(Answer):
    """Characters `start` to `end` of a text."""

    model_config = ConfigDict(title="Stretch")

    text: str
    start: int
    end: int
    probability: Annotated[
        Share | None, Field(description="To be machine-written; of several tokens their mean.")
    ]


Stretches = Annotated[
    list[StretchAnswer] | None,
    Field(description="Only if asked for; null of a scorer without a token head."),
]


class Result(Answer):
    """What the scorer says of one text."""

    synthenticity: Annotated[
        Share | None, Field(description="Estimated share of machine-written tokens.")
    ]
    interval: Annotated[
        list[Share], Field(min_length=2, max_length=2, description="In which it lies, 90 % sure.")
    ]
    replaced: Annotated[
        Share | None, Field(description="Estimated share of tokens that a machine changed.")
    ]
    uncalibrated: Annotated[
        Share | None, Field(description="The synthenticity before calibration.")
    ]
    logit: Annotated[
        float | None, Field(description="Its log-odds; null if they are no finite number.")
    ]
    verdict: Annotated[
        str | None, Field(description="`flagged at RATE` or `not flagged`; null if unknown.")
    ]
    alarms: Annotated[
        dict[str, bool], Field(description="Whether the threshold is exceeded, by rate.")
    ]
    abstained: Annotated[
        str | None, Field(description="Why the figures should not be used; null if they may.")
    ]
    unknown_share: Annotated[Share, Field(description="Of tokens that the scorer does not know.")]
    characters: Annotated[int, Field(ge=0)]
    tokens: Stretches = None
    spans: Stretches = None
    sentences: Stretches = None


class Scores(Answer):
    """The results, in the order of the texts."""

    model: ModelName
    results: list[Result]


class LimitsAnswer(Answer):
    """How much a request may ask for."""

    max_texts: int
    max_text_characters: int
    max_characters: int
    max_body_bytes: int


class ModelAnswer(Answer):
    """What is known of the model."""

    name: str
    weights: str
    head: Annotated[str, Field(description="`token`, or `cls`: that one says nothing of tokens.")]
    block_size: int
    window_tokens: Annotated[int, Field(description="Longer texts are read in windows.")]
    min_tokens: Annotated[int, Field(description="Of fewer it abstains.")]
    calibrated: bool
    thresholds: Annotated[
        dict[str, float], Field(description="Uncalibrated values, by rate of false alarms.")
    ]
    human: Annotated[
        list[float],
        Field(description="Uncalibrated values of human documents, growing; of many, quantiles."),
    ]
    human_documents: Annotated[
        int,
        Field(ge=0, description="Human documents of the calibration; `human` has at most 2,000."),
    ]
    limits: LimitsAnswer


class StateAnswer(Answer):
    """Whether the server lives, or is ready."""

    status: str


class ProblemAnswer(Answer):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: Annotated[str, Field(description="What is wrong, and what to do.")]


def model_answer(model: ServedModel, limits: Limits) -> bytes:
    """Return what `/v1/model` says."""
    names = LimitsAnswer.model_fields
    content = {
        "name": model.name,
        "weights": model.weights,
        **model.about,
        "limits": {name: getattr(limits, name) for name in names},
    }
    return as_json(content)


def scores_answer(model: ServedModel, scores: list[Score], asked: Asked) -> Iterator[bytes]:
    """Yield what `/v1/score` says, part by part."""
    name = {"name": model.name, "weights": model.weights}
    yield b'{"model":' + as_json(name) + b',"results":['
    for number, score in enumerate(scores):
        yield (b"," if number else b"") + as_json(score.facts())[:-1]
        if asked.tokens:
            yield from _list("tokens", score.iter_tokens(), score)
            yield from _list("spans", score.spans or (), score)
        if asked.sentences:
            yield from _list("sentences", score.sentences or (), score)
        yield b"}"
    yield b"]}"


def _list(name: str, stretches: Iterable[Stretch], score: Score) -> Iterator[bytes]:
    """Yield a field that is a list of stretches; null of a score without token head."""
    yield f',"{name}":'.encode()
    if score.token_logits is None:
        yield b"null"
        return
    yield b"["
    left, between = iter(stretches), b""
    while some := [each.to_json() for each in islice(left, STRETCHES_AT_ONCE)]:
        yield between + as_json(some)[1:-1]
        between = b","
    yield b"]"


def as_json(content: Any) -> bytes:
    """Return JSON in UTF-8; what is no finite number becomes null.

    >>> as_json({"a": [0.1, float("nan")]})
    b'{"a":[0.1,null]}'
    """
    try:
        text = json.dumps(content, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except ValueError:
        return as_json(_finite(content))
    return text.encode()


def _finite(content: Any) -> Any:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    return [_finite(each) for each in content] if isinstance(content, list) else content
