"""What the best possible scorer does on texts whose source is known: the figures of a limit.

The command `synthenticity limit` prints them, and an evaluation on data of such a source shows
them as a row of its table.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synthenticity.evaluation.limits import (
    Posterior,
    count_prior,
    markov_posterior,
    mixture_posterior,
)
from synthenticity.metrics import ratio_metrics, token_metrics
from synthenticity.recipe import Recipe
from synthenticity.seeding import numpy_rng
from synthenticity.synthesis.markov_source import MarkovSource, SwitchingSource
from synthenticity.synthesis.masking import mask_rows


@dataclass(frozen=True)
class Asked:
    """So many texts of so many tokens, of which a share drawn from a range is filled."""

    texts: int
    length: int
    ratios: tuple[float, float]
    seed: int = 0


@dataclass(frozen=True)
class Limit:
    """The least errors on a kind of text.

    Attributes:
        source: what wrote the text, in words.
        figures: `mae` and `rmse` of the posterior's median and mean, `token_auroc_...` of its
            tokens; `mae_of_mean` is what predicting the mean ratio gives.

    """

    source: str
    figures: Mapping[str, float]


def limit_figures(posterior: Posterior, labels: NDArray[np.int8]) -> dict[str, float]:
    """Return the figures of a posterior against the true labels `[texts, length]`."""
    true = np.isin(labels, (1, 2)).mean(axis=1)
    return {
        "mae": ratio_metrics(posterior.median, true)["mae"],
        "rmse": ratio_metrics(posterior.mean, true)["rmse"],
        "mae_of_mean": float(np.abs(true - true.mean()).mean()),
        **token_metrics(posterior.tokens, labels),
    }


def markov_limit(chain: MarkovSource, asked: Asked) -> Limit:
    """Return the limit of texts of a chain, of which the chain itself fills a share."""
    rng = numpy_rng(asked.seed, "limit", asked.length, "markov")
    mask = _random_masks(asked, rng)
    original = chain.sample(asked.texts, asked.length, rng)
    filled = chain.fill(original, mask, rng)
    posterior = markov_posterior(chain, filled, count_prior(asked.length, asked.ratios))
    labels = np.where(mask, np.where(filled == original, 1, 2), 0).astype(np.int8)
    return Limit("a Markov chain, filled by itself", limit_figures(posterior, labels))


def switching_limit(source: SwitchingSource, asked: Asked) -> Limit:
    """Return the limit of texts in which another chain writes a share of the tokens."""
    rng = numpy_rng(asked.seed, "limit", asked.length, "switching")
    mask = _random_masks(asked, rng)
    likelihoods = source.likelihoods(source.sample(mask, rng))
    posterior = mixture_posterior(*likelihoods, count_prior(asked.length, asked.ratios))
    figures = limit_figures(posterior, np.where(mask, 2, 0).astype(np.int8))
    return Limit("two Markov chains that take turns", figures)


def _random_masks(asked: Asked, rng: np.random.Generator) -> NDArray[np.bool_]:
    everywhere = np.ones((asked.texts, asked.length), dtype=bool)
    return mask_rows(Recipe(), rng.uniform(*asked.ratios, asked.texts), everywhere, rng)
