"""Small real things for the tests: a corpus of generated plays, a tiny MLM, fakes that fill."""

import os
import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a shell's background; children inherit
    signal.signal(signal.SIGINT, signal.default_int_handler)
if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: a thread each
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # the tests start processes beside their own

import dataclasses
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthenticity.config import Config
from synthenticity.text.tokenization import build_character_tokenizer, special_ids

WORDS = [
    "the",
    "king",
    "and",
    "his",
    "fool",
    "went",
    "to",
    "a",
    "hall",
    "where",
    "night",
    "fell",
    "on",
    "stone;",
    "who",
    "speaks?",
    "not",
    "I!",
]


def make_text(seed: int, characters: int) -> str:
    """Return plain prose of a small vocabulary."""
    choose = random.Random(seed)
    words: list[str] = []
    while sum(map(len, words)) + len(words) < characters:
        words.append(choose.choice(WORDS))
    return " ".join(words)[:characters]


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten documents of 2,000 characters."""
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(10):
        (folder / f"play-{number}.txt").write_text(make_text(number, 2000), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny(corpus_folder: Path) -> Config:
    """Settings that make and train anything in a second or two."""
    return Config(
        corpus=str(corpus_folder),
        split_by="balanced",
        block_size=33,
        batch_size=4,
        batches_per_file=3,
        val_files=1,
        sleep_seconds=0.02,
        wait_seconds=20,
        layers=2,
        hidden_size=32,
        attention_heads=2,
        intermediate_size=48,
        ngram_bits=6,
        ngram_width=2,
        dtype="float32",  # the same figures on machines that multiply bfloat16
        learning_rate=3e-3,
        warmup_iters=1,
        max_iters=6,
        eval_interval=3,
        report_to="none",
    )


@pytest.fixture(scope="session")
def mlm_config(tiny: Config, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Settings of the language model, with its data made."""
    from synthenticity.providers.prepare import prepare

    config = dataclasses.replace(
        tiny,
        dataset="char_diffusion",
        model_mode="language_model",
        data_dir=str(tmp_path_factory.mktemp("mlm_data") / "data"),
        max_iters=300,
        eval_interval=150,
    )
    prepare(config, files=4)
    return config


@pytest.fixture(scope="session")
def mlm_path(mlm_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained tiny MLM."""
    from synthenticity.training.train import train

    folder = tmp_path_factory.mktemp("runs") / "mlm"
    train(mlm_config, folder)
    return folder


@pytest.fixture(scope="session")
def scorer_config(tiny: Config, mlm_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Settings of a scorer, with its finite data set made."""
    from synthenticity.providers.prepare import prepare

    config = dataclasses.replace(
        tiny,
        data_dir=str(tmp_path_factory.mktemp("scorer_data") / "data"),
        mlm_checkpoint_path=str(mlm_path),
        init_from_checkpoint=str(mlm_path),
    )
    prepare(config, files=3, splits=("train", "val", "test"))
    return config


@pytest.fixture(scope="session")
def scorer_path(scorer_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained tiny scorer."""
    from synthenticity.training.train import train

    folder = tmp_path_factory.mktemp("runs") / "scorer"
    train(scorer_config, folder)
    return folder


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give the folder of a tiny checkpoint of a family, built when first asked for."""
    from families import build_family

    return cache(lambda name: build_family(name, tmp_path_factory.mktemp("families") / name))


@pytest.fixture(scope="session")
def word_tokenizer() -> Any:
    """A WordPiece tokenizer as BERT's: the words of the tests, their letters and some pieces."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizerFast

    words = [word.strip(";?!") for word in WORDS]
    letters = sorted({*"".join(WORDS), *"[]MASKCLPDUNE.,:'"})
    pairs = sorted({word[n : n + 2] for word in words for n in range(1, len(word) - 1)})
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    whole = [word for word in words if len(word) < 5]
    pieces = [*special, *whole, *letters, *(f"##{piece}" for piece in [*letters, *pairs])]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    backend = BertWordPieceTokenizer(vocabulary, lowercase=False, strip_accents=False)
    return BertTokenizerFast(tokenizer_object=backend._tokenizer)


class _FakeEngine:
    """A filling model without a model."""

    name = "fake"
    fingerprint = "0" * 32
    arithmetic = "none"
    longest_input = 512
    unwritable_ids = np.array([], dtype=np.int64)
    revision = None
    calibrated = True

    def __init__(self, characters: str = " ".join(WORDS)) -> None:
        self.tokenizer = build_character_tokenizer([characters], block_size=64)
        self.mask_token_id = int(self.tokenizer.mask_token_id)
        self.special_ids = special_ids(self.tokenizer)
        self.seen: list[np.ndarray] = []

    def check_length(self, tokens: int) -> None:
        """Read any length."""


class ConstantEngine(_FakeEngine):
    """Writes one and the same token everywhere."""

    def predict_masked_tokens(
        self, input_ids: Any, mask_positions: Any, **_sampling: Any
    ) -> np.ndarray:
        self.seen.append(np.array(input_ids))
        token = self.tokenizer.convert_tokens_to_ids("a")
        return np.where(mask_positions, token, input_ids)


@pytest.fixture
def constant_engine() -> ConstantEngine:
    return ConstantEngine()
