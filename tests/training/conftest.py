"""A run with everything that may spoil a resume, and its weights when nothing does."""

import dataclasses
import random

import pytest
from runs import Weights, weights

from synthenticity.config import Config
from synthenticity.providers.prepare import prepare
from synthenticity.training.train import train


@pytest.fixture(scope="session")
def long_run(scorer_config: Config) -> Config:
    """A run with dropout, accumulation and evaluations between, over several epochs."""
    return dataclasses.replace(
        scorer_config,
        dropout=0.3,
        init_from_checkpoint=None,
        gradient_accumulation_steps=2,
        max_iters=12,
        eval_interval=5,
        save_interval=4,
    )


@pytest.fixture(scope="session")
def padded_run(scorer_config: Config, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A short run on texts of 2 to 60 characters: rows differ in the tokens that count."""
    folder = tmp_path_factory.mktemp("short")
    draw = random.Random(5)
    for number in range(60):
        words = draw.choices(("the", "king", "a", "fool", "went"), k=draw.randint(1, 12))
        (folder / f"{number}.txt").write_text(" ".join(words), encoding="utf-8")
    config = dataclasses.replace(
        scorer_config, corpus=str(folder), data_dir=str(folder / "data"), dropout=0.0
    )
    prepare(config, files=4)
    return config


@pytest.fixture(scope="session")
def uninterrupted(long_run: Config, tmp_path_factory: pytest.TempPathFactory) -> Weights:
    folder = tmp_path_factory.mktemp("reference") / "run"
    train(long_run, folder)
    return weights(folder)


@pytest.fixture
def live_run(long_run: Config, tmp_path) -> Config:
    """The same on a live queue, longer, with checkpoints that fit nothing else."""
    return dataclasses.replace(
        long_run, data_dir=str(tmp_path / "live"), max_iters=30, save_interval=7
    )
