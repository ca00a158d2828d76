"""Documents in, filled documents out: mask, fill and splice, with the truth of each.

Everything that happens to a document comes from a generator keyed by (seed, document id, copy),
so its record depends on neither its neighbours, nor the order, nor the batch size.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthenticity.config import Config
from synthenticity.errors import ConfigError
from synthenticity.recipe import Recipe
from synthenticity.runtimes.row_cache import RowCache
from synthenticity.runtimes.row_store import RowStore
from synthenticity.seeding import numpy_rng
from synthenticity.synthesis.calibration import sample_texts
from synthenticity.synthesis.filling_model import FillingModel, load_filling_model
from synthenticity.synthesis.masking import UNIT_PATTERNS, choose_recipes, mask_rows
from synthenticity.synthesis.mlm_inference import MLMInferenceEngine
from synthenticity.synthesis.spelling import TokenizedText
from synthenticity.synthesis.splicing import Span, splice
from synthenticity.synthesis.synthetic_generation import fraction_labelled
from synthenticity.synthesis.token_labels import REPLACED_TOKEN, RESTORED_TOKEN
from synthenticity.synthesis.window_batches import FillingModelInUse, MaskedText, write_masked
from synthenticity.text.reading import CorpusSource, Document, Rejected
from synthenticity.text.tokenization import tokenizer_fingerprint
from synthenticity.text.units import token_units, touching_tokens

Tokens = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Ids `[tokens]` and character offsets `[tokens, 2]` of a text."""


@dataclass(frozen=True)
class FilledDocument:
    """A document, partly written by a model, with its truth. See docs/formats.md for each field.

    Arrays are `[tokens]` or, for `log_probabilities` (nats) and `ranks`, `[written tokens]`.
    """

    id: str
    copy: int
    original: str
    text: str
    spans: list[Span]
    token_ids: NDArray[np.int64]
    token_starts: NDArray[np.int64]
    token_ends: NDArray[np.int64]
    token_labels: NDArray[np.int8]
    log_probabilities: NDArray[np.float32]
    ranks: NDArray[np.int32]
    recipe: str
    mlm: str
    group: str | None = None
    domain: str | None = None

    @property
    def synthenticity(self) -> float:
        """Filled tokens / counted tokens."""
        filled = (RESTORED_TOKEN, REPLACED_TOKEN)
        return float(fraction_labelled(self.token_labels[None], filled)[0])

    @property
    def replaced_fraction(self) -> float:
        """Replaced tokens / counted tokens."""
        return float(fraction_labelled(self.token_labels[None], (REPLACED_TOKEN,))[0])


@dataclass(frozen=True)
class MaskedDocument:
    """A document on its way: chance has decided everything, and what is written goes to `text`."""

    document: Document
    copy: int
    text: MaskedText
    nothing_to_mask: bool


@dataclass(frozen=True)
class _Drawn:
    """What chance has decided for a document, and the generator that decides the rest."""

    document: Document
    copy: int
    recipe: Recipe
    ratio: float
    rng: np.random.Generator


class Filler:
    """Fills documents by a mixture of recipes.

    Args:
        models: filling models by the `mlm_checkpoint_path` of the recipes; None is the default one.
        recipes: the mixture.
        seed: with document id and copy, the only source of randomness.
        batch_size: windows of a model call, at most.
        protect: regular expression; a token that touches a match is never masked.

    """

    def __init__(
        self,
        models: Mapping[str | None, FillingModelInUse],
        recipes: tuple[Recipe, ...],
        *,
        seed: int,
        batch_size: int = 64,
        protect: str | None = None,
    ) -> None:
        self.models = models
        self.recipes = recipes
        self.seed = seed
        self.batch_size = batch_size
        self.protect = protect

    @classmethod
    def from_config(
        cls,
        config: Config,
        *,
        recipes: tuple[Recipe, ...] | None = None,
        batch_size: int = 64,
        engine: FillingModel | None = None,
    ) -> "Filler":
        """Load the filling models of the recipes, by default those of the config.

        `engine` is the model of the recipes that name none, in place of the config's. Models in
        int8 choose their scales by the beginning of the corpus.

        Raises:
            ConfigError: no filling model is named, or they cannot be computed as the config says.
            ModelError: one cannot be loaded, or does not bear int8.

        """
        recipes = recipes or config.mixture(untouched_share=0.0, all_filled_share=0.0)
        models: dict[str | None, FillingModelInUse] = {}
        for own in dict.fromkeys(recipe.mlm_checkpoint_path for recipe in recipes):
            path = own or config.mlm_checkpoint_path
            if own is None and engine is not None:
                models[own] = FillingModelInUse.of(engine)
            elif path is None:
                raise ConfigError(
                    "mlm_checkpoint_path: not set. Name a filling model (fill: --model)."
                )
            else:
                models[own] = FillingModelInUse.of(_load(path, config))
        for recipe in recipes:
            if models[recipe.mlm_checkpoint_path].left_to_right and recipe.steps > 1:
                name = models[recipe.mlm_checkpoint_path].name
                raise ConfigError(
                    f"steps: {name} writes from left to right, one token after another. Leave "
                    "steps out of its recipes."
                )
        uncalibrated = [model.engine for model in models.values() if not model.engine.calibrated]
        texts = sample_texts(CorpusSource.from_config(config)) if uncalibrated else []
        for each in uncalibrated:
            each.calibrate(texts)
        return cls(models, recipes, seed=config.seed, batch_size=batch_size, protect=config.protect)

    @property
    def readings_spared(self) -> int:
        """How many readings of a row by a model were spared because it had read the same before.

        A row that is written in several rounds is read once in each.
        """
        caches = (getattr(model.engine, "cache", None) for model in self.models.values())
        return sum(cache.hits for cache in caches if isinstance(cache, RowCache))

    def made_with(self) -> dict[str, Any]:
        """Return everything that decides the record of a document."""
        return {
            "recipes": [recipe.to_json() for recipe in self.recipes],
            "seed": self.seed,
            "protect": self.protect,
            "models": {
                model.name: {
                    "fingerprint": model.fingerprint,
                    "revision": model.engine.revision,
                    "tokenizer": tokenizer_fingerprint(model.engine.tokenizer),
                    "arithmetic": model.engine.arithmetic,
                    "window": model.window,
                    **_int8_figures(model.engine),
                }
                for model in self.models.values()
            },
        }

    def fill(
        self, documents: Sequence[Document], copies: Sequence[int]
    ) -> list[FilledDocument | Rejected]:
        """Fill each document, as the copy of that number; in their order.

        A document that has nothing to mask, though its recipe asks for it, comes back rejected.
        """
        masked = self.mask(documents, copies)
        self.write(masked)
        return self.splice(masked)

    def mask(
        self,
        documents: Sequence[Document],
        copies: Sequence[int],
        *,
        tokens: Mapping[str, Sequence[Tokens]] = MappingProxyType({}),
    ) -> list[MaskedDocument]:
        """Draw and mask: the first step of `fill`, in which no model takes part.

        `tokens` are those of the documents, where they are known already, by the name of a model.
        """
        drawn = [self._draw(*item) for item in zip(documents, copies, strict=True)]
        masked: dict[int, MaskedDocument] = {}
        for path, model in self.models.items():
            mine = [n for n, item in enumerate(drawn) if item.recipe.mlm_checkpoint_path == path]
            texts = [drawn[n].document.text for n in mine]
            if model.name in tokens:
                known = [tokens[model.name][n] for n in mine]
                read = [
                    model.spelling.tokenized(text, *own)
                    for text, own in zip(texts, known, strict=True)
                ]
            else:
                read = model.spelling.tokenize(texts)
            masked |= {n: self._mask(drawn[n], text) for n, text in zip(mine, read, strict=True)}
        return [masked[n] for n in range(len(drawn))]

    def write(
        self,
        masked: Sequence[MaskedDocument],
        *,
        between: Callable[[], None] = lambda: None,
        opinion: bool = True,
    ) -> None:
        """Let the models write: the second step of `fill`.

        `between` is called before each call of a model; what it raises ends the writing.
        Without `opinion`, log-probabilities and ranks are all 0.
        """
        for path, model in self.models.items():
            texts = [m.text for m in masked if m.text.recipe.mlm_checkpoint_path == path]
            write_masked(model, texts, batch_size=self.batch_size, between=between, opinion=opinion)

    def splice(self, masked: Sequence[MaskedDocument]) -> list[FilledDocument | Rejected]:
        """Put what is written into the texts, with its truth: the third step of `fill`."""
        return [
            self._finish(self.models[item.text.recipe.mlm_checkpoint_path], item) for item in masked
        ]

    def _draw(self, document: Document, copy: int) -> _Drawn:
        """Draw the recipe and the share of a document."""
        rng = numpy_rng(self.seed, "fill", copy, f"document {document.id}")
        index, ratio = choose_recipes(self.recipes, 1, rng)
        return _Drawn(document, copy, self.recipes[index[0]], float(ratio[0]), rng)

    def _mask(self, drawn: _Drawn, tokens: TokenizedText) -> MaskedDocument:
        """Choose the positions of a document."""
        document, recipe = drawn.document, drawn.recipe
        maskable = tokens.maskable.copy()
        spans = list(document.protected)
        if self.protect is not None:
            spans += [match.span() for match in re.finditer(self.protect, tokens.text)]
        maskable &= ~touching_tokens(spans, tokens.offsets, len(tokens.text))
        units = None
        if recipe.pattern in UNIT_PATTERNS:
            units = token_units(tokens.text, tokens.offsets, recipe.pattern)[None]
        ratio = np.array([drawn.ratio])
        mask = mask_rows(recipe, ratio, maskable[None], drawn.rng, units)[0]
        text = MaskedText.of(tokens, recipe, mask, drawn.rng)
        nothing = drawn.ratio > 0 and not bool(maskable.any())
        return MaskedDocument(document, drawn.copy, text, nothing)

    def _finish(self, model: FillingModelInUse, work: MaskedDocument) -> FilledDocument | Rejected:
        document, text = work.document, work.text
        if work.nothing_to_mask:
            return Rejected(document.id, "", f"no token of it can be masked by {model.name}")
        if (text.rank[text.mask] < 0).any():
            raise RuntimeError(f"{document.id}: a masked token was not written. This is a bug.")
        spliced = splice(text.tokens, text.written, text.mask, model.spelling)
        return FilledDocument(
            id=document.id,
            copy=work.copy,
            original=document.text,
            text=spliced.text,
            spans=spliced.spans,
            token_ids=text.written,
            token_starts=spliced.starts,
            token_ends=spliced.ends,
            token_labels=spliced.token_labels,
            log_probabilities=text.log_probability[text.mask],
            ranks=text.rank[text.mask],
            recipe=text.recipe.name,
            mlm=model.name,
            group=document.group,
            domain=document.domain,
        )


def _int8_figures(engine: FillingModel) -> dict[str, Any]:
    """Return how far a model in int8 is from float32, to two digits; nothing in other dtypes."""
    accuracy = getattr(engine, "accuracy", None)
    if accuracy is None:
        return {}
    figures = {"divergence_nats": accuracy.divergence, "flipped_share": accuracy.flipped}
    return {"int8": {name: float(f"{value:.2g}") for name, value in figures.items()}}


def _load(path: str, config: Config) -> FillingModel:
    """Load a folder or a model of the hub, whose name may end in @ and a revision."""
    name, _, revision = (path, "", "") if Path(path).exists() else path.partition("@")
    model = load_filling_model(
        name,
        revision=revision or None,
        device=config.device,
        dtype=config.dtype,
        runtime=config.runtime,
        weights=config.model_weights,
        remote_code=config.model_remote_code,
    )
    if isinstance(model, MLMInferenceEngine):
        folder = config.fill_cache_dir
        store = None if folder is None else RowStore(folder, config.fill_cache_dir_mib)
        model.cache = RowCache(config.fill_cache_mib, store, model.fingerprint)
    return model
