"""The exact testbed's data are those of its chain, and only of what has a known limit."""

import dataclasses

import numpy as np
import pytest

from synthenticity.config import Config
from synthenticity.errors import ConfigError
from synthenticity.evaluation.limits import count_prior, markov_posterior
from synthenticity.providers.base import find_provider
from synthenticity.recipe import Recipe
from synthenticity.seeding import numpy_rng


@pytest.fixture
def config(tiny: Config) -> Config:
    return dataclasses.replace(tiny, dataset="markov", batch_size=400)


def test_batches_are_scorer_data_with_their_truth(config: Config) -> None:
    provider = find_provider("markov")(config)
    batch = provider.sample_batch("train", numpy_rng(1, "train", 0, "batch 0"))
    schema = provider.meta("finite").schema
    assert sorted(batch) == sorted(schema.names())
    labels, ids, original = (batch[name] for name in ("token_labels", "input_ids", "original_ids"))
    assert (labels[:, 0] == -100).all() and (labels[:, 1:] >= 0).all()
    assert ((ids != original) == (labels == 2)).all()
    assert np.allclose(np.isin(labels, (1, 2)).sum(axis=1) / 32, batch["synthenticity"])
    assert (batch["synthenticity"] == 0).mean() == pytest.approx(0.15, abs=0.06)
    assert len(set(batch["document"])) == len(ids)


def test_a_batch_is_a_function_of_its_generator(config: Config) -> None:
    first, again = (
        find_provider("markov")(config).sample_batch("val", numpy_rng(1, "val", 3, "batch 1"))
        for _ in range(2)
    )
    assert all(np.array_equal(first[name], again[name]) for name in first)


def test_the_chain_writes_the_pairs_of_the_corpus(config: Config) -> None:
    provider = find_provider("markov")(config)
    batch = provider.sample_batch("train", numpy_rng(2, "train", 0, "batch 0"))
    pairs = batch["original_ids"][:, 1:].astype(int) - provider.first_id
    size = len(provider.source.transitions)
    seen = np.bincount((pairs[:, :-1] * size + pairs[:, 1:]).ravel(), minlength=size**2)
    expected = (provider.source.stationary[:, None] * provider.source.transitions).ravel()
    assert np.abs(seen / seen.sum() - expected).max() < 0.01


def test_its_limit_is_calibrated_on_its_data(config: Config) -> None:
    config = dataclasses.replace(config, untouched_share=0.0, all_filled_share=0.0)
    provider = find_provider("markov")(config)
    batch = provider.sample_batch("test", numpy_rng(3, "test", 0, "batch 0"))
    ids = batch["input_ids"][:, 1:].astype(np.int64) - provider.first_id
    found = markov_posterior(provider.source, ids, count_prior(32, (0.1, 0.7)))
    error = found.mean - batch["synthenticity"]
    assert abs(error.mean()) < 4 * error.std() / 20
    filled = np.isin(batch["token_labels"][:, 1:], (1, 2))
    sure = found.tokens > 0.8
    assert sure.sum() > 50
    assert filled[sure].mean() == pytest.approx(found.tokens[sure].mean(), abs=0.06)


@pytest.mark.parametrize(
    "recipe", [Recipe(pattern="span"), Recipe(temperature=0.7), Recipe(top_k=5), Recipe(steps=2)]
)
def test_what_has_no_known_limit_is_refused(config: Config, recipe: Recipe) -> None:
    mixed = dataclasses.replace(config, recipes=(Recipe(ratio=(0.0, 0.0)), recipe))
    with pytest.raises(ConfigError, match="has no known limit"):
        find_provider("markov")(mixed)
