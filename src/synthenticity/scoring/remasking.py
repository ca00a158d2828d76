"""Which tokens of a draft a critic takes back: how many in each round, and which.

MaskGIT (Chang et al. 2022) and Token-Critic (Lezama et al. 2022) mask fewer from round to round,
by a cosine, and blur the choice with Gumbel noise that fades. They begin with nothing but masks;
here a draft stands already, so the first round takes only a share of it: with .1, eight rounds
take back each token half a time on average.
"""

import dataclasses
import math

import numpy as np
import torch
from numpy.typing import NDArray

from synthenticity.errors import ConfigError
from synthenticity.settings import bound_problems, choice_problems, setting
from synthenticity.synthesis.sampling import draw_sequence_keys, gumbel_noise

FALLS = ("cosine", "linear")
BOUNDS = {"rounds": (1.0, math.inf), "share": (0.0, 1.0), "temperature": (0.0, math.inf)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """How much is remasked, over how many rounds, and how much chance has a say in it.

    Raises:
        ConfigError: a value is out of range; all such are named.

    """

    rounds: int = setting("", 8, "how often tokens are remasked and filled again")
    share: float = setting("", 0.1, "of the tokens, remasked in the first round")
    fall: str = setting("", "cosine", "how that share falls from round to round", FALLS)
    temperature: float = setting(
        "", 0.0, "of the choice, fading to 0; with 0, always the most machine-like are remasked"
    )

    def __post_init__(self) -> None:
        problems = [*choice_problems(self), *bound_problems(self, BOUNDS)]
        if self.share == 0:
            problems.append("share: 0 remasks nothing. Give more.")
        if problems:
            raise ConfigError("\n".join(problems))

    def counts(self, number: int, maskable: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many tokens `[rows]` a round (from 0) remasks, of so many maskable ones.

        At least one, where there is one.

        >>> schedule = Schedule(rounds=4, share=0.5)
        >>> [schedule.counts(number, np.array([100])).tolist() for number in range(4)]
        [[50], [46], [35], [19]]
        """
        done = number / self.rounds
        left = math.cos(done * math.pi / 2) if self.fall == "cosine" else 1 - done
        counts = np.rint(left * self.share * maskable).astype(np.int64)
        return np.asarray(np.minimum(np.maximum(counts, 1), maskable))

    def remask(
        self,
        number: int,
        preference: NDArray[np.float64],
        maskable: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> NDArray[np.bool_]:
        """Return the positions `[rows, length]` that a round (from 0) remasks.

        Args:
            number: of the round.
            preference: `[rows, length]`; the highest are remasked, the left one of equals. Noise
                is added to it, so that log-odds at temperature 1 are chosen in proportion to odds.
            maskable: bool `[rows, length]`.
            rng: gives each row the key of its noise, whatever the temperature.

        """
        keys = torch.from_numpy(draw_sequence_keys(rng, len(preference)))
        temperature = self.temperature * (1 - number / self.rounds)
        if temperature:
            places = torch.from_numpy(maskable.cumsum(axis=1))  # whatever stands around the text
            noise = gumbel_noise(keys, places)
            preference = preference + temperature * noise.numpy()
        return _highest(preference, maskable, self.counts(number, maskable.sum(axis=1)))


def _highest(
    preference: NDArray[np.float64], among: NDArray[np.bool_], counts: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Choose in each row the `counts` highest of some places, the left one of equals."""
    order = np.lexsort((-preference, ~among), axis=1)
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(order.shape[1])[None], axis=1)
    return np.asarray(place < counts[:, None])
