"""What is known of a data set at best: the limits that stand beside the systems in its row.

Of data that a Markov chain wrote and filled, the exact posterior of the masks: nobody errs less
over all sequences, so a scorer that does, beyond what a draw of documents can do, has seen the
answers. Of text that a masked language model filled in one plain round, a genie who sees the
original, too, and so knows what was replaced. How likely a token that was left would be restored,
she asks the model, with all that was replaced masked and a random fourth of the rest at a time:
about what the model saw when it filled. So she is a yardstick and no proof: on data of the demo's
larger budget she errs by .019, and by .020 if told what was masked around each token.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from synthenticity.config_file import load_config
from synthenticity.errors import ConfigError, SynthenticityError
from synthenticity.evaluation.judging import mean_of, values_of
from synthenticity.evaluation.leaks import LeakAlarm
from synthenticity.evaluation.limits import (
    Posterior,
    genie_posterior,
    markov_posterior,
    mixture_prior,
)
from synthenticity.evaluation.predictions import Predictions
from synthenticity.evaluation.sequences import Sequences
from synthenticity.evaluation.systems import PASSES, Reading, check_folder, check_tokenizer
from synthenticity.metrics import finite
from synthenticity.providers.markov import MarkovProvider
from synthenticity.recipe import Recipe
from synthenticity.seeding import numpy_rng
from synthenticity.stream.meta import Meta, read_meta
from synthenticity.stream.places import Place, beside
from synthenticity.synthesis.checkpoints import load_mlm
from synthenticity.synthesis.likelihood import LIKELIHOODS
from synthenticity.synthesis.mlm_inference import MLMInferenceEngine
from synthenticity.synthesis.token_labels import NOT_COUNTED, REPLACED_TOKEN
from synthenticity.text.tokenization import load_tokenizer

BAYES = "the limit (Bayes)"
GENIE = "the genie (also sees the original)"
LIMITS = (BAYES, GENIE)
INTERVAL = (0.05, 0.95)
LEAST = 1e-300
Say = Callable[[str], None]


class KnownLimit(Protocol):
    """Says of sequences what can be known."""

    @property
    def name(self) -> str:
        """What it is called in tables."""
        ...

    def predict(self, sequences: Sequences) -> Predictions:
        """Return the medians, token probabilities and 90 % intervals of the posterior.

        Raises:
            ConfigError: the sequences are too long for it.

        """
        ...


def limits_of(directory: Place, reading: Reading, on_message: Say) -> list[KnownLimit]:
    """Return what is known of a data set; says why something is not.

    Args:
        directory: of the data.
        reading: the genie needs its model, the one that filled the data.
        on_message: told why there is no limit where one might be expected.

    """
    meta = read_meta(beside(directory))
    if meta is None:
        return []
    if meta.task.get("dataset_name") == "markov":
        limit = _bayes(directory, meta, on_message)
        return [] if limit is None else [limit]
    if reading.model is None:
        return []
    problem = _why_no_genie(meta, reading)
    if problem:
        on_message(f"{directory}: no genie, {problem}.")
        return []
    return [GenieLimit(reading, _recipes(meta))]


def limit_of_data(
    directory: Place, *, mlm: str | None = None, on_message: Say = lambda _: None
) -> tuple[str, dict[str, float]]:
    """Return what the limit of a data set is called, and its figures on the test split.

    Args:
        directory: of the data.
        mlm: the model that filled them, for the genie.
        on_message: told what is being done.

    Raises:
        ConfigError: no limit is known, or the sequences are too long for it.
        QueueError: the test split is not complete.

    """
    check_folder(directory)
    tokenizer = load_tokenizer(beside(directory) / "tokenizer")
    if mlm is not None:
        check_tokenizer(tokenizer, mlm, directory)
    reading = Reading(tokenizer, None if mlm is None else load_mlm(mlm).eval())
    test = reading.read(directory, "test")
    limits = limits_of(directory, reading, on_message)
    if not limits:
        raise ConfigError(
            f'{directory}: no limit is known of it. Data of dataset = "markov" have one, and with '
            "--mlm, the model that filled them, plain data of a character model."
        )
    on_message(f"computing {limits[0].name}")
    values = values_of(test, limits[0].predict(test))
    constant = float(np.abs(test.ratios - np.median(test.ratios)).mean())
    figures = {name: mean_of(value) for name, value in values.items()}
    return limits[0].name, finite({**figures, "mae_all_of_median": constant})


class BayesLimit:
    """The exact posterior of data that a chain wrote and filled."""

    name = BAYES

    def __init__(self, provider: MarkovProvider) -> None:
        self._provider = provider

    def predict(self, sequences: Sequences) -> Predictions:
        """Return what can be known; 40 ms a sequence of 256 tokens."""
        ids = sequences.columns["input_ids"][:, 1:].astype(np.int64) - self._provider.first_id
        prior = mixture_prior(ids.shape[1], self._provider.recipes)
        posterior = markov_posterior(self._provider.source, ids, prior)
        return _said(posterior, sequences.counted)


@dataclass(frozen=True)
class GenieLimit:
    """Who sees the original, too, of data that a masked language model filled."""

    reading: Reading
    recipes: Sequence[Recipe]
    name: str = GENIE

    def predict(self, sequences: Sequences) -> Predictions:
        """Return what she knows; texts of one length at a time."""
        replaced = sequences.columns["token_labels"] == REPLACED_TOKEN
        restoring, counted = self._restoring(sequences, replaced), sequences.counted
        lengths = counted.sum(axis=1)
        rows, parts = [], []
        for length in np.unique(lengths[lengths > 0]).tolist():
            some = np.flatnonzero(lengths == length)
            own, shape = counted[some], (len(some), length)
            posterior = genie_posterior(
                replaced[some][own].reshape(shape),
                restoring[some][own].reshape(shape),
                mixture_prior(length, self.recipes),
            )
            rows.append(some)
            parts.append(_said(posterior, own))
        return _in_order(np.concatenate(rows), parts)

    def _restoring(self, sequences: Sequences, replaced: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return how likely the model writes each token that was left, `[sequences, length]`.

        Text in which nothing was replaced was hardly filled; she takes it for untouched.
        """
        some = np.asarray(replaced.any(axis=1))
        if not some.all():
            restoring = np.zeros(replaced.shape)
            if some.any():
                restoring[some] = self._restoring(sequences.taken(some), replaced[some])
            return restoring
        tokenizer, columns = self.reading.tokenizer, sequences.columns
        seen = np.where(replaced, tokenizer.mask_token_id, columns["input_ids"])
        turn = numpy_rng(0, "genie", len(seen), "turns").integers(PASSES, size=seen.shape)
        restoring = np.zeros(seen.shape)
        for asked in (sequences.counted & ~replaced & (turn == number) for number in range(PASSES)):
            labels = np.where(asked, 0, NOT_COUNTED)
            part = Sequences({"input_ids": seen, "token_labels": labels}, sequences.texts)
            read = part.read_by(self.reading.model, tokenizer, passes=1).likelihoods
            assert read is not None
            log = read[:, :, LIKELIHOODS.index("log_probability")]
            restoring[asked] = np.exp(log[asked].astype(np.float64))
        return restoring


def limit_alarm(system: Mapping[str, Any]) -> LeakAlarm:
    """Say whether a scorer is better than the exact limit, a system that `judge` has judged.

    The error is that over all sequences: those of one kind anybody may favour. `value` is how much
    less the scorer errs at least.
    """
    low, high = system["intervals"]["mae_all_difference"]
    found = f"{system['mae_all_difference']:+.4f}, 95 % {low:+.4f} to {high:+.4f}"
    sentence = (
        f"The scorer errs less than anybody can ({found}): it has seen the answers."
        if high < 0
        else f"The scorer is not better than the limit; the difference in error is {found}."
    )
    return LeakAlarm("better than the limit", -high, 0.0, sentence)


def _bayes(directory: Place, meta: Meta, on_message: Say) -> BayesLimit | None:
    try:
        provider = MarkovProvider(load_config(beside(directory) / "config.toml"))
    except (SynthenticityError, OSError) as error:
        on_message(f"{directory}: its limit is not known: {error}")
        return None
    for name, value in provider.made_with().items():
        if meta.made_with.get(name) != value:
            on_message(f"{directory}: its limit is not known: {name} is not what it was made with.")
            return None
    return BayesLimit(provider)


def _recipes(meta: Meta) -> list[Recipe]:
    """Return the mixture that data were made with."""
    found = []
    for each in meta.made_with.get("recipes", ()):
        values: dict[str, Any] = {**each, "ratio": tuple(each.get("ratio", (0.0, 1.0)))}
        found.append(Recipe(**values))
    return found


def _why_no_genie(meta: Meta, reading: Reading) -> str:
    """Return what she cannot see through, or "" if nothing."""
    made, recipes = meta.made_with, _recipes(meta)
    if "original_ids" not in meta.schema.names() or not recipes:
        return "the files do not hold the ids before filling"
    if any(Recipe(ratio=each.ratio, weight=each.weight) != each for each in recipes):
        return "not all recipes are plain (random, temperature 1, one round)"
    if made.get("corruption") != "mask" or made.get("protect") or made.get("protect_column"):
        return "tokens were left out, or replaced at random"
    own = MLMInferenceEngine(reading.model, reading.tokenizer).fingerprint
    if [each["fingerprint"] for each in made.get("models", {}).values()] != [own]:
        return "another model than --mlm filled them"
    return ""


def _said(posterior: Posterior, counted: NDArray[np.bool_]) -> Predictions:
    """Return a posterior as predictions, its tokens put where they are counted."""
    tokens = np.zeros(counted.shape)
    tokens[counted] = posterior.tokens.ravel()
    low, high = (posterior.quantile(share) for share in INTERVAL)
    untouched, filled = posterior.counts[:, 0], posterior.counts[:, 1:].sum(axis=1)
    suspicion = np.log(np.maximum(filled, LEAST)) - np.log(np.maximum(untouched, LEAST))
    return Predictions(posterior.median, tokens, low, high, suspicion)


def _in_order(rows: NDArray[np.int64], parts: Sequence[Predictions]) -> Predictions:
    """Return predictions of parts as those of all, `rows` the place of each."""
    order = np.argsort(rows)

    def whole(name: str) -> NDArray[Any]:
        return np.asarray(np.concatenate([getattr(part, name) for part in parts])[order])

    return Predictions(*map(whole, ("ratios", "tokens", "low", "high", "suspicion")))
