"""Sources of text that are known exactly: a Markov chain with the perfect filling model of it, and
two chains that take turns.

Of order 1: a token depends on the one before alone, so a masked token depends on the nearest
unmasked one on each side and on how far they are.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from synthenticity.errors import ConfigError

Floats = NDArray[np.float64]
SMOOTHING = 0.01
"""Pairs that never occurred count as if they had, so often."""


class MarkovSource:
    """A chain of tokens, in equilibrium from the first on.

    Args:
        transitions: probability of each next token after each token, `[vocabulary, vocabulary]`,
            all positive; rows are scaled to sum to 1.

    Attributes:
        transitions: the same, scaled.
        stationary: probability of each token anywhere, `[vocabulary]`.

    Raises:
        ConfigError: a probability is not positive.

    """

    def __init__(self, transitions: Floats) -> None:
        if not (transitions > 0).all():
            raise ConfigError("transitions: not all are positive. Smooth the counts of pairs.")
        self.transitions = transitions / transitions.sum(axis=1, keepdims=True)
        size = len(transitions)
        balance = np.vstack([self.transitions.T - np.eye(size), np.ones(size)])
        solved = np.linalg.lstsq(balance, np.append(np.zeros(size), 1.0), rcond=None)
        self.stationary: Floats = solved[0]
        self._powers = np.eye(size)[None]

    @classmethod
    def fitted(cls, texts: Iterable[NDArray[np.integer]], vocabulary: int) -> "MarkovSource":
        """Return the chain with the pairs of neighbours of texts, each `[tokens]` of ids."""
        pairs = np.full((vocabulary, vocabulary), SMOOTHING)
        for ids in texts:
            np.add.at(pairs, (ids[:-1], ids[1:]), 1.0)
        return cls(pairs)

    def powers(self, most: int) -> Floats:
        """Return the chances of each token some steps after each, `[most + 1 steps, from, to]`."""
        while len(self._powers) <= most:
            self._powers = np.concatenate([self._powers, self._powers[-1:] @ self.transitions])
        return self._powers[: most + 1]

    def sample(self, texts: int, length: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw texts `[texts, length]`."""
        ids = np.empty((texts, length), dtype=np.int64)
        ids[:, 0] = _draw(np.tile(self.stationary, (texts, 1)), rng)
        for place in range(1, length):
            ids[:, place] = _draw(self.transitions[ids[:, place - 1]], rng)
        return ids

    def fill(
        self, ids: NDArray[np.int64], mask: NDArray[np.bool_], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Return texts `[texts, length]` whose masked tokens are drawn, each by itself, given the
        unmasked ones.
        """
        length = ids.shape[1]
        places = np.arange(length)
        before = np.maximum.accumulate(np.where(mask, -1, places), axis=1)
        after = np.minimum.accumulate(np.where(mask, length, places)[:, ::-1], axis=1)[:, ::-1]
        row, place = np.nonzero(mask)
        left, right = before[row, place], after[row, place]
        powers = self.powers(length)
        by_left = powers[place - left, ids[row, left]]  # where there is none: replaced below
        by_right = powers[right - place, :, ids[row, np.minimum(right, length - 1)]]
        chances = np.where(left[:, None] < 0, self.stationary, by_left)
        filled = ids.copy()
        filled[row, place] = _draw(np.where(right[:, None] == length, 1.0, by_right) * chances, rng)
        return filled


class SwitchingSource:
    """Two chains that write one text: a token is the machine's where it is masked, else the
    human's, given the token before it, whoever wrote that.

    Args:
        human: transitions of unmasked tokens; the first token is hers in any case.
        machine: transitions of masked ones.

    """

    def __init__(self, human: MarkovSource, machine: MarkovSource) -> None:
        self.human, self.machine = human, machine

    @classmethod
    def cooled(cls, human: MarkovSource, temperature: float) -> "SwitchingSource":
        """Return a source whose machine is the human at another temperature."""
        return cls(human, MarkovSource(human.transitions ** (1 / temperature)))

    def sample(self, mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw texts `[texts, length]` with these masks."""
        ids = np.empty(mask.shape, dtype=np.int64)
        ids[:, 0] = _draw(np.tile(self.human.stationary, (len(mask), 1)), rng)
        for place in range(1, mask.shape[1]):
            before, masked = ids[:, place - 1], mask[:, place, None]
            chances = np.where(
                masked, self.machine.transitions[before], self.human.transitions[before]
            )
            ids[:, place] = _draw(chances, rng)
        return ids

    def likelihoods(self, ids: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Return the probability of each token as the human's and as the machine's, given the one
        before, `[texts, length]`.
        """
        first = self.human.stationary[ids[:, :1]]
        human, machine = (
            np.concatenate([first, chain.transitions[ids[:, :-1], ids[:, 1:]]], axis=1)
            for chain in (self.human, self.machine)
        )
        return human, machine


def _draw(chances: Floats, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw an index for each row of chances, which need not sum to 1."""
    below = np.cumsum(chances, axis=1)
    drawn = rng.random(len(chances)) * below[:, -1]
    index: NDArray[np.int64] = (below <= drawn[:, None]).sum(axis=1)
    return np.asarray(np.minimum(index, chances.shape[1] - 1))
