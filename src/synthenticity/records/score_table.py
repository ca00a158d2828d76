"""The table of scores: a row a document. Every field is in docs/formats.md.

Numbers are those of `Score`, at full precision. Positions count characters (code points) of the
text, as Python and pandas do.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa

from synthenticity.errors import ConfigError
from synthenticity.records.output import RecordKind, check_out
from synthenticity.scoring.score import Score, Stretch

SCORES_VERSION = 1
_POSITION = pa.int32()
_STRETCH = pa.struct(
    [
        pa.field("start", _POSITION, nullable=False),
        pa.field("end", _POSITION, nullable=False),
        pa.field("probability", pa.float64(), nullable=False),
    ]
)
FIGURES = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("synthenticity", pa.float64()),
        pa.field("low", pa.float64(), nullable=False),
        pa.field("high", pa.float64(), nullable=False),
        pa.field("replaced", pa.float64()),
        pa.field("uncalibrated", pa.float64()),
        pa.field("logit", pa.float64()),
        pa.field("verdict", pa.string()),
        pa.field("abstained", pa.string()),
        pa.field("unknown_share", pa.float64(), nullable=False),
        pa.field("characters", pa.int64(), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),
    ]
)
TOKENS = pa.schema(
    [
        pa.field("text", pa.string(), nullable=False),
        pa.field("token_starts", pa.list_(_POSITION), nullable=False),
        pa.field("token_ends", pa.list_(_POSITION), nullable=False),
        pa.field("probabilities", pa.list_(pa.float64())),
        pa.field("spans", pa.list_(_STRETCH)),
        pa.field("sentences", pa.list_(_STRETCH)),
    ]
)
PLAIN = RecordKind(FIGURES, SCORES_VERSION, (".parquet", ".jsonl", ".csv"))
WITH_TOKENS = RecordKind(
    pa.unify_schemas([FIGURES, TOKENS]), SCORES_VERSION, (".parquet", ".jsonl")
)


def row_of(name: str, score: Score, *, tokens: bool = False) -> dict[str, Any]:
    """Return what a table says of a document: the values of `Score`, one by one."""
    facts = score.facts()
    row = {key: facts[key] for key in FIGURES.names if key in facts}
    low, high = score.interval
    row |= {"id": name, "low": low, "high": high, "tokens": len(score.offsets)}
    if tokens:
        row |= {
            "text": score.text,
            "token_starts": score.offsets[:, 0],
            "token_ends": score.offsets[:, 1],
            "probabilities": score.probabilities,
            "spans": _places(score.spans),
            "sentences": _places(score.sentences),
        }
    return row


def _places(stretches: list[Stretch] | None) -> list[dict[str, Any]] | None:
    if stretches is None:
        return None
    return [
        {"start": each.start, "end": each.end, "probability": each.probability}
        for each in stretches
    ]


def figures_of(table: pa.Table) -> list[dict[str, Any]]:
    """Return the rows of a table of scores, without what they hold of tokens."""
    rows: list[dict[str, Any]] = table.select(FIGURES.names).to_pylist()
    return rows


def check_form(out: Path, *, tokens: bool) -> RecordKind:
    """Return what an output will hold; refuse one that exists or cannot hold it.

    Raises:
        ConfigError: says which forms there are.

    """
    if tokens and out.suffix.lower() == ".csv":
        raise ConfigError(f"out: {out.name} cannot hold tokens. Give a .parquet or .jsonl file.")
    kind = WITH_TOKENS if tokens else PLAIN
    check_out(out, kind)
    return kind
