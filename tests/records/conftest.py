"""Six hundred notes, three that cannot be used, and their records of one undisturbed run."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from synthenticity.config import Config
from synthenticity.records.run import fill_corpus


@pytest.fixture(scope="session")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six hundred documents of one to sixty words, three of which cannot be used."""
    path = tmp_path_factory.mktemp("notes") / "notes.jsonl"
    rows = [
        {"id": f"n{n}", "text": " ".join(f"The keeper rowed {k} boats." for k in range(1 + n % 12))}
        for n in range(600)
    ]
    rows += [{"id": "empty", "text": " \n"}, {"id": "number", "text": 5}, {"id": "none"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def config(notes: Path, family: Callable[[str], Path]) -> Config:
    return Config(
        corpus=str(notes),
        id_column="id",
        mlm_checkpoint_path=str(family("roberta")),
        mask_probability_range=(0.0, 0.6),
        untouched_share=0.0,
        seed=5,
    )


@pytest.fixture(scope="session")
def whole(config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The records of one undisturbed run."""
    out = tmp_path_factory.mktemp("whole") / "out.parquet"
    fill_corpus(config, out)
    return out
