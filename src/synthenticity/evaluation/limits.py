"""Limits: the least error that any scorer can have, where it can be computed.

Two kinds of text are known in closed form, and with them the exact posterior of every mask given
the filled text: a Markov chain whose masks are filled by its own conditionals (a perfect filling
model), and text in which each token comes from one of two known distributions. Of real text nothing
is known exactly, but a genie who sees the original, too, knows more than any scorer, and its error
is a bound. Nobody beats a limit: a scorer that does has seen the answers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthenticity.errors import ConfigError
from synthenticity.recipe import Recipe
from synthenticity.synthesis.markov_source import MarkovSource

Floats = NDArray[np.float64]
WIDEST_RANGE = 600.0
"""How far apart likely and unlikely counts may be, in nats: a float holds 700."""
BLOCK_NUMBERS = 2**25


@dataclass(frozen=True)
class Posterior:
    """What a filled text says of its masks at best.

    Attributes:
        counts: probability of each number of filled tokens, `[texts, length + 1]`.
        tokens: probability of each token to be filled, `[texts, length]`.

    """

    counts: Floats
    tokens: Floats

    @property
    def mean(self) -> Floats:
        """The ratio of least squared error, `[texts]`."""
        length = self.tokens.shape[1]
        mean: Floats = self.counts @ (np.arange(length + 1) / length)
        return mean

    def quantile(self, share: float) -> Floats:
        """Return the least ratio `[texts]` with at least this probability at and below it."""
        below = (np.cumsum(self.counts, axis=1) < share - 1e-12).sum(axis=1)
        quantile: Floats = np.minimum(below, self.tokens.shape[1]) / self.tokens.shape[1]
        return quantile

    @property
    def median(self) -> Floats:
        """The ratio of least absolute error, `[texts]`."""
        return self.quantile(0.5)


def count_prior(length: int, ratios: tuple[float, float]) -> Floats:
    """Return the probability `[length + 1]` of each number of masks, for a ratio drawn uniformly
    and rounded to whole tokens.

    >>> count_prior(4, (0.0, 0.5)).tolist()
    [0.25, 0.5, 0.25, 0.0, 0.0]
    """
    low, high = ratios
    if low == high:
        return np.asarray(np.eye(length + 1)[round(low * length)])
    edges = np.clip((np.arange(length + 2) - 0.5) / length, low, high)
    return np.asarray(np.diff(edges) / (high - low))


def mixture_prior(length: int, recipes: Sequence[Recipe]) -> Floats:
    """Return the probability `[length + 1]` of each number of masks in a mixture of recipes.

    >>> untouched, some = Recipe(ratio=(0, 0)), Recipe(ratio=(0.5, 1.0), weight=3.0)
    >>> mixture_prior(4, [untouched, some]).tolist()
    [0.25, 0.0, 0.1875, 0.375, 0.1875]
    """
    weights = np.array([recipe.weight for recipe in recipes])
    priors = [count_prior(length, recipe.ratio) for recipe in recipes]
    return np.asarray(weights @ np.array(priors) / weights.sum())


def markov_posterior(source: MarkovSource, filled: NDArray[np.int64], prior: Floats) -> Posterior:
    """Return what texts `[texts, length]` of a Markov chain, filled by itself, say of their masks.

    Masks of one number are equally likely; `prior` `[length + 1]` says how likely each number is.
    The sum over all masks goes from one unmasked token to the next and counts: how likely the text
    between two is depends on them and their distance alone.

    Raises:
        ConfigError: see `_Counting`.

    """
    counting = _Counting(prior)

    def posterior(some: NDArray[np.int64]) -> Posterior:
        gaps = _gap_weights(source, some, counting.tilt)
        before, after = _sums_over_gaps(gaps), _sums_over_gaps(_turned_round(gaps)).turned_round()
        tokens = slice(1, -1)
        return counting.posterior(before.at(tokens), after.at(tokens), before.at(slice(-1, None)))

    return _in_blocks(posterior, filled)


def mixture_posterior(human: Floats, machine: Floats, prior: Floats) -> Posterior:
    """Return what texts say of their masks if each token is drawn by itself, given those before.

    Args:
        human: likelihood of each token where it is not filled, `[texts, length]`.
        machine: where it is.
        prior: see `markov_posterior`.

    Raises:
        ConfigError: see `_Counting`.

    """
    counting = _Counting(prior)

    def posterior(both: Floats) -> Posterior:
        both = both / both.max(axis=2, keepdims=True) * np.exp([0.0, counting.tilt])
        up_to = _sums_over_tokens(both)
        after = _sums_over_tokens(both[:, ::-1]).turned_round().at(slice(1, None))
        before = up_to.at(slice(None, -1))
        unmasked = _Sums(before.values * both[:, :, :1], before.logs)
        return counting.posterior(unmasked, after, up_to.at(slice(-1, None)))

    return _in_blocks(posterior, np.stack([human, machine], axis=2))


def genie_posterior(replaced: NDArray[np.bool_], restoring: Floats, prior: Floats) -> Posterior:
    """Return what whoever sees original and filled text knows of the masks.

    What was replaced was filled; what was not may have been filled with itself.

    Args:
        replaced: where the texts differ, `[texts, length]`.
        restoring: probability that a token, masked, is filled with itself, `[texts, length]`.
        prior: see `markov_posterior`.

    """
    return mixture_posterior(
        np.where(replaced, 0.0, 1.0), np.where(replaced, 1.0, restoring), prior
    )


class _Counting:
    """Sums over all masks that keep count of the masked tokens.

    A mask that has `n` of them is weighed by `exp(n * tilt)`, which keeps the sums of likely counts
    near their largest, and divided by it in the end.

    Args:
        prior: probability of each number of masked tokens, `[length + 1]`.

    Raises:
        ConfigError: counts that are possible are too unlike in probability for a float.

    """

    def __init__(self, prior: Floats) -> None:
        length = len(prior) - 1
        counts = np.arange(length + 1)
        share = np.clip(prior @ counts / length, 0.05, 0.95)
        self.tilt = float(np.log(share / (1 - share)))
        log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, length + 1)))])
        log_masks = log_factorial[-1] - log_factorial - log_factorial[::-1]
        possible = prior > 0
        log = np.full(length + 1, -np.inf)
        log[possible] = np.log(prior[possible]) - (log_masks + self.tilt * counts)[possible]
        if np.ptp(log[possible]) > WIDEST_RANGE:
            raise ConfigError(
                f"length: the shares of masked tokens are too far apart for texts of {length}. "
                "Take shorter texts or a narrower range."
            )
        self.weights: Floats = np.exp(log - log[possible].max())

    def posterior(self, before: "_Sums", after: "_Sums", whole: "_Sums") -> Posterior:
        """Return the posterior of the sums before, after and over all tokens.

        Those before a token, `[texts, length, counts]`, hold that token as unmasked.
        """
        counts = whole.values[:, 0] * self.weights
        evidence = np.log(counts.sum(axis=1, keepdims=True)) + whole.logs
        number = np.arange(len(self.weights))
        together = np.add.outer(number, number)
        weights = np.where(
            together < len(number), self.weights[np.minimum(together, len(number) - 1)], 0.0
        )
        joined = np.einsum("tic,tic->ti", before.values @ weights, after.values)
        with np.errstate(divide="ignore"):
            unmasked = np.exp(np.log(joined) + before.logs + after.logs - evidence)
        return Posterior(
            counts / counts.sum(axis=1, keepdims=True), np.clip(1 - unmasked, 0.0, 1.0)
        )


@dataclass(frozen=True)
class _Sums:
    """Sums, `values * exp(logs)`: `[texts, places, counts]` and `[texts, places]`."""

    values: Floats
    logs: Floats

    def at(self, places: slice) -> "_Sums":
        """Return those of some places."""
        return _Sums(self.values[:, places], self.logs[:, places])

    def turned_round(self) -> "_Sums":
        """Return the last place first."""
        return _Sums(self.values[:, ::-1], self.logs[:, ::-1])


def _in_blocks(posterior: Callable[[Any], Posterior], texts: NDArray[Any]) -> Posterior:
    """Compute the posterior of some texts at a time, as many as memory is meant for."""
    rows = max(1, BLOCK_NUMBERS // texts.shape[1] ** 2)
    parts = [posterior(texts[start : start + rows]) for start in range(0, len(texts), rows)]
    return Posterior(
        np.concatenate([part.counts for part in parts]),
        np.concatenate([part.tokens for part in parts]),
    )


def _sums_over_tokens(both: Floats) -> _Sums:
    """Return the sums over the tokens before each place, `[texts, length + 1 places, counts]`.

    `both` `[texts, length, 2]` are the weights of each token as unmasked and as masked.
    """
    texts, length, _ = both.shape
    sums = _Sums(np.zeros((texts, length + 1, length + 1)), np.zeros((texts, length + 1)))
    sums.values[:, 0, 0] = 1.0
    for place in range(length):
        here, found = sums.values[:, place], sums.values[:, place + 1]
        found += here * both[:, place, :1]
        found[:, 1:] += here[:, :-1] * both[:, place, 1:]
        most = found.max(axis=1)
        found /= most[:, None]
        sums.logs[:, place + 1] = sums.logs[:, place] + np.log(most)
    return sums


def _sums_over_gaps(gaps: Floats) -> _Sums:
    """Return the sums of all ways from the start to each place.

    `gaps` `[texts, places, steps]` are the logarithms of the weights of going from a place, some
    steps on, to the next unmasked one. Places are the start, the tokens, and the end.
    """
    texts, places, _ = gaps.shape
    counts = places - 1
    sums = _Sums(np.zeros((texts, places, counts)), np.zeros((texts, places)))
    sums.values[:, 0, 0] = 1.0
    for place in range(1, places):
        steps = np.arange(1, place + 1)
        log = gaps[:, place - steps, steps] + sums.logs[:, place - steps]
        largest = log.max(axis=1)
        ways = np.exp(log - largest[:, None])
        found = sums.values[:, place]
        for step in steps.tolist():
            way = ways[:, step - 1, None]
            found[:, step - 1 :] += way * sums.values[:, place - step, : counts - step + 1]
        most = found.max(axis=1)
        found /= most[:, None]
        sums.logs[:, place] = largest + np.log(most)
    return sums


def _turned_round(gaps: Floats) -> Floats:
    """Return the gaps of the same text read from its end."""
    places = gaps.shape[1]
    start, steps = np.meshgrid(np.arange(places), np.arange(places), indexing="ij")
    turned: Floats = gaps[:, np.maximum(places - 1 - start - steps, 0), steps]
    return turned


def _gap_weights(source: MarkovSource, texts: NDArray[np.int64], tilt: float) -> Floats:
    """Return the logarithm of the weight of each gap, `[texts, places, steps]`, by its first place.

    It is the probability of the unmasked token at its end, given that at its start, and of each
    token between, given both: P(a, i) P(i, b) / P(a, b), by as many steps as they are apart.
    """
    count, length = texts.shape
    log = np.log(source.powers(length)[1:])
    pairs = np.zeros((count, length + 2, length + 2))  # log P from a place, so many steps on
    for step in range(1, length):
        pairs[:, 1 : length + 1 - step, step] = log[step - 1][texts[:, :-step], texts[:, step:]]
    between = np.zeros_like(pairs)
    between[:, :, 2:] = np.cumsum(pairs[:, :, 1:-1], axis=2)
    to_end = np.zeros((count, length + 2))  # of the tokens less than a step before each place
    for step in range(1, length + 2):
        between[:, : length + 2 - step, step] += to_end[:, step:]
        to_end[:, step:] += pairs[:, : length + 2 - step, step]
    steps = np.arange(length + 2)
    gaps = between + (2 - steps) * pairs + tilt * np.maximum(steps - 1, 0)
    anywhere = np.log(source.stationary)[texts]
    up_to = np.cumsum(anywhere, axis=1)
    gaps[:, 0, 1:-1] += up_to - anywhere + (2 - steps[1:-1]) * anywhere
    gaps[:, 0, -1] += up_to[:, -1]
    return np.asarray(gaps)
