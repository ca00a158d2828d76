"""Limits are the posterior itself: by adding up every mask of small texts, and by calibration."""

from itertools import pairwise, product
from math import comb

import numpy as np
import pytest

from synthenticity.errors import ConfigError
from synthenticity.evaluation.limits import (
    Posterior,
    count_prior,
    genie_posterior,
    markov_posterior,
    mixture_posterior,
)
from synthenticity.synthesis.markov_source import MarkovSource, SwitchingSource

LENGTH, VOCABULARY = 6, 3
PRIOR = count_prior(LENGTH, (0.0, 0.9))


def chain(vocabulary: int = VOCABULARY, seed: int = 0, sharpness: float = 1.0) -> MarkovSource:
    rng = np.random.default_rng(seed)
    return MarkovSource(rng.dirichlet(np.full(vocabulary, 1 / sharpness), vocabulary) + 1e-3)


def by_all_masks(likelihood, texts: int) -> Posterior:
    """Add up the joint probability of every mask, of which `likelihood(text, mask)` is a part."""
    counts, tokens = np.zeros((texts, LENGTH + 1)), np.zeros((texts, LENGTH))
    for mask in product((False, True), repeat=LENGTH):
        many = sum(mask)
        for text in range(texts):
            joint = PRIOR[many] / comb(LENGTH, many) * likelihood(text, np.array(mask))
            counts[text, many] += joint
            tokens[text] += joint * np.array(mask)
    evidence = counts.sum(axis=1, keepdims=True)
    return Posterior(counts / evidence, tokens / evidence)


def check_equal(found: Posterior, expected: Posterior) -> None:
    np.testing.assert_allclose(found.counts, expected.counts, atol=1e-12)
    np.testing.assert_allclose(found.tokens, expected.tokens, atol=1e-12)


def likelihood_of_fill(source: MarkovSource, y: np.ndarray, mask: np.ndarray) -> float:
    """Return the probability of a text: of what is unmasked, then of each fill given all that."""
    states = list(product(range(VOCABULARY), repeat=LENGTH))
    chances = np.array(
        [
            source.stationary[state[0]]
            * np.prod([source.transitions[a, b] for a, b in pairwise(state)])
            for state in states
        ]
    )
    originals = np.array(states)
    fitting = (originals[:, ~mask] == y[~mask]).all(axis=1)
    unmasked = chances[fitting].sum()
    fills = [
        chances[fitting & (originals[:, place] == y[place])].sum() / unmasked
        for place in np.flatnonzero(mask)
    ]
    return float(unmasked * np.prod(fills))


def test_the_markov_posterior_is_the_sum_over_all_masks() -> None:
    source = chain()
    texts = np.random.default_rng(1).integers(0, VOCABULARY, (5, LENGTH))
    expected = by_all_masks(lambda text, mask: likelihood_of_fill(source, texts[text], mask), 5)
    check_equal(markov_posterior(source, texts, PRIOR), expected)


def test_the_mixture_posterior_is_the_sum_over_all_masks() -> None:
    human, machine = np.random.default_rng(2).random((2, 5, LENGTH))
    human[0, 2] = machine[1, 3] = 0.0
    expected = by_all_masks(
        lambda text, mask: float(np.prod(np.where(mask, machine[text], human[text]))), 5
    )
    check_equal(mixture_posterior(human, machine, PRIOR), expected)


def test_a_genie_knows_what_was_replaced_and_guesses_what_was_restored() -> None:
    replaced = np.zeros((1, LENGTH), dtype=bool)
    replaced[0, 1] = True
    restoring = np.full((1, LENGTH), 0.5)
    restoring[0, 4] = 0.0
    found = genie_posterior(replaced, restoring, PRIOR)
    assert found.tokens[0, 1] == pytest.approx(1.0)
    assert found.tokens[0, 4] == pytest.approx(0.0)
    assert 0 < found.tokens[0, 0] < 1
    assert found.counts[0, 0] == 0


@pytest.mark.parametrize("kind", ["markov", "switching"])
def test_the_posterior_is_calibrated_on_its_own_source(kind: str) -> None:
    """At a real length: what it says happens as often as it says, and nothing errs less."""
    rng, length, texts, ratios = np.random.default_rng(3), 96, 400, (0.1, 0.7)
    source = chain(12, sharpness=4.0)
    prior = count_prior(length, ratios)
    counts = np.round(rng.uniform(*ratios, texts) * length).astype(int)
    lots = rng.random((texts, length)).argsort(axis=1).argsort(axis=1)
    mask = lots < counts[:, None]
    if kind == "markov":
        filled = source.fill(source.sample(texts, length, rng), mask, rng)
        found = markov_posterior(source, filled, prior)
    else:
        switching = SwitchingSource(source, chain(12, seed=1, sharpness=4.0))
        found = mixture_posterior(*switching.likelihoods(switching.sample(mask, rng)), prior)
    true = mask.mean(axis=1)
    error = found.mean - true
    assert abs(error.mean()) < 4 * error.std() / texts**0.5
    inside = (found.quantile(0.05) <= true) & (true <= found.quantile(0.95))
    assert 0.87 < inside.mean() < 0.97
    for low in (0.2, 0.5, 0.8):
        some = (found.tokens > low - 0.1) & (found.tokens < low + 0.1)
        assert found.tokens[some].mean() == pytest.approx(mask[some].mean(), abs=0.03)
    mae = np.abs(found.median - true).mean()
    assert mae < 0.8 * np.abs(true - true.mean()).mean()
    assert mae <= np.abs(found.mean - true).mean() + 1e-3
    assert np.allclose(found.tokens.mean(axis=1), found.mean)


def test_the_perfect_model_fills_by_the_chain_given_both_neighbours() -> None:
    source, rng = chain(), np.random.default_rng(4)
    ids = np.tile([[0, 0, 1, 2, 2, 0]], (20_000, 1))
    mask = np.zeros_like(ids, dtype=bool)
    mask[:, [0, 2, 3, 5]] = True
    filled = source.fill(ids, mask, rng)
    assert (filled[:, [1, 4]] == ids[:, [1, 4]]).all()
    steps = source.transitions
    expected = {
        0: source.stationary * steps[:, 0],
        2: steps[0] * (steps @ steps)[:, 2],
        3: (steps @ steps)[0] * steps[:, 2],
        5: steps[2],
    }
    for place, chances in expected.items():
        shares = np.bincount(filled[:, place], minlength=VOCABULARY) / len(ids)
        np.testing.assert_allclose(shares, chances / chances.sum(), atol=0.015)


def test_texts_are_the_same_one_by_one_and_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    source = chain()
    texts = np.random.default_rng(5).integers(0, VOCABULARY, (7, LENGTH))
    whole = markov_posterior(source, texts, PRIOR)
    monkeypatch.setattr("synthenticity.evaluation.limits.BLOCK_NUMBERS", 2 * LENGTH**2)
    check_equal(markov_posterior(source, texts, PRIOR), whole)


def test_what_a_float_cannot_hold_is_refused() -> None:
    prior = count_prior(4096, (0.0, 1.0))
    with pytest.raises(ConfigError, match="too far apart for texts of 4096"):
        mixture_posterior(np.ones((1, 4096)), np.ones((1, 4096)), prior)
    with pytest.raises(ConfigError, match="not all are positive"):
        MarkovSource(np.eye(3))
