"""Windows of human text made partly synthetic, in the scorer's own tokens, with their truth.

A character model's ids are filled as they are (`FilledIds`). Everything else goes by way of the
text (`FilledTexts`): the scorer is trained on what its tokenizer makes of the *final text*, and
the labels are carried over by characters, because ids that no tokenizer would produce give the
label away. So filling model and scorer may have different tokenizers, and recipes different
models.
"""

import math
import re
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from synthenticity.errors import ConfigError
from synthenticity.providers.base import column
from synthenticity.recipe import Recipe
from synthenticity.stream.batch_file import STRINGS, Columns, narrowest_ids
from synthenticity.synthesis.filling import FilledDocument, Filler, MaskedDocument
from synthenticity.synthesis.masking import choose_positions, choose_recipes
from synthenticity.synthesis.splicing import label_tokens
from synthenticity.synthesis.synthetic_generation import (
    MaskedIds,
    SyntheticText,
    add_cls_token,
    mask_ids,
)
from synthenticity.synthesis.token_labels import NOT_COUNTED
from synthenticity.synthesis.window_batches import FillingModelInUse, sampling_of
from synthenticity.text.reading import Document
from synthenticity.text.token_pool import Windows
from synthenticity.text.tokenization import (
    ids_and_offsets,
    special_ids,
    text_encoder,
    tokenizer_fingerprint,
)

RESERVE_SHARE = 0.25
"""Of a window's tokens, so many more are read behind it and never masked: text whose tokens become
fewer is filled up from there, because padding would tell filled sequences from untouched ones."""
LAST_SPACE = re.compile(r"\s\S*\Z")
UNKNOWN = -1
NOTHING_TO_MASK = "nothing to mask"
"""The recipe of a window that no filling model can write in; it stays as it is."""


class FilledWindows(Protocol):
    """Makes windows partly synthetic, in the three steps of a `SteppedProvider`.

    `tokens_needed` is how long the windows must be.
    """

    tokens_needed: int

    def schema(self) -> list[dict[str, Any]]:
        """Return the columns that `label` gives beside `input_ids` and `token_labels`."""
        ...

    def draw(self, windows: Windows, rng: np.random.Generator) -> Any:
        """Choose recipes, positions and noise keys."""
        ...

    def fill(self, drawn: Any) -> Any:
        """Let the model write what was drawn to be filled."""
        ...

    def label(self, filled: Any) -> Columns:
        """Return `input_ids` and `token_labels` `[count, block_size]`, and the rest."""
        ...


@dataclass(frozen=True)
class _MaskedWindows:
    """Windows of ids before they are filled."""

    windows: Windows
    masked: MaskedIds
    recipes: list[Recipe]


class FilledIds:
    """Fills ids in place: for character tokenizers, where ids and text say the same.

    Args:
        model: the filling model, whose tokenizer is the scorer's.
        recipes: the mixture.
        block_size: tokens of a sequence, [CLS] counted.
        corruption: `mask`, or `bert` (80/10/10).

    """

    def __init__(
        self,
        model: FillingModelInUse,
        recipes: tuple[Recipe, ...],
        block_size: int,
        corruption: str,
    ) -> None:
        self._engine, self._name = model.engine, model.name
        self._recipes, self._block_size, self._corruption = recipes, block_size, corruption
        self.tokens_needed = block_size - 1
        self._tokenizer = model.engine.tokenizer
        special = special_ids(self._tokenizer)
        self._ordinary_ids = np.setdiff1d(np.arange(len(self._tokenizer)), special)

    def schema(self) -> list[dict[str, Any]]:
        """Return the ids before filling, the recipe and the model."""
        return filled_ids_schema(self._tokenizer, self._block_size)

    def draw(self, windows: Windows, rng: np.random.Generator) -> _MaskedWindows:
        """Mask the windows."""
        index, ratios = choose_recipes(self._recipes, len(windows.ids), rng)
        maskable = ~np.isin(windows.ids, self._engine.special_ids) & ~windows.protected
        mask = choose_positions(self._recipes, index, ratios, maskable, rng, units=windows.units)
        masked = mask_ids(
            windows.ids,
            mask,
            self._engine.special_ids,
            rng,
            corruption=self._corruption,
            ordinary_ids=self._ordinary_ids,
        )
        return _MaskedWindows(windows, masked, [self._recipes[number] for number in index])

    def fill(self, drawn: _MaskedWindows) -> tuple[_MaskedWindows, NDArray[np.int64]]:
        """Fill the masked ids of all windows in one call of the model."""
        padded = drawn.windows.attention_mask
        sampling = sampling_of(drawn.recipes)
        if padded is not None:
            sampling["attention_mask"] = padded
        return drawn, drawn.masked.filled_by(self._engine, **sampling)

    def label(self, filled: tuple[_MaskedWindows, NDArray[np.int64]]) -> Columns:
        """Put [CLS] before the filled ids, their labels and the original ids."""
        drawn, ids = filled
        return filled_ids_columns(
            drawn.masked.labelled(ids),
            drawn.windows.ids,
            self._tokenizer,
            self._block_size,
            recipes=[recipe.name for recipe in drawn.recipes],
            model=self._name,
        )


def filled_ids_schema(tokenizer: Any, block_size: int) -> list[dict[str, Any]]:
    """Return what sequences that are filled as ids have beside ids and labels."""
    ids = narrowest_ids(len(tokenizer))
    return [
        column("original_ids", "int64", [block_size], "info", ids),
        column("recipe", "str", [], "info", "str"),
        column("mlm", "str", [], "info", "str"),
    ]


def filled_ids_columns(
    text: SyntheticText,
    original: NDArray[np.int64],
    tokenizer: Any,
    block_size: int,
    *,
    recipes: list[str],
    model: str,
) -> Columns:
    """Return filled ids, their labels and the original ids, each with [CLS] in front."""
    cls, pad = tokenizer.cls_token_id, tokenizer.pad_token_id
    return {
        "input_ids": add_cls_token(text.ids, cls, block_size, pad),
        "token_labels": add_cls_token(text.token_labels, NOT_COUNTED, block_size, NOT_COUNTED),
        "original_ids": add_cls_token(original, cls, block_size, pad),
        "recipe": np.array(recipes),
        "mlm": np.full(len(recipes), model),
    }


@dataclass(frozen=True)
class _MaskedTexts:
    """The texts of windows, and their masked documents, into which the models write."""

    texts: list[str]
    masked: list[MaskedDocument]


class FilledTexts:
    """Fills the text of windows, and reads the result with the scorer's tokenizer.

    Args:
        filler: the filling models and the mixture.
        tokenizer: the scorer's.
        block_size: tokens of a sequence, [CLS] counted.
        corruption: `mask`.

    Raises:
        ConfigError: `bert` corruption, which replaces ids and not text.

    """

    def __init__(self, filler: Filler, tokenizer: Any, block_size: int, corruption: str) -> None:
        if corruption != "mask":
            raise ConfigError(
                f"corruption: {corruption} is for character models; sub-word data are made as "
                'text. Set corruption = "mask".'
            )
        self.filler = filler
        self._tokenizer, self._block_size = tokenizer, block_size
        self._encoder = text_encoder(tokenizer)
        self._special = special_ids(tokenizer)
        self.tokens_needed = block_size - 1 + math.ceil(RESERVE_SHARE * block_size)
        self._reading_alike = [
            model.name for model in filler.models.values() if model.spelling.reads_like(tokenizer)
        ]
        own = tokenizer_fingerprint(tokenizer)
        self._same_tokenizer = {
            model.name: tokenizer_fingerprint(model.engine.tokenizer) == own
            for model in filler.models.values()
        }

    def schema(self) -> list[dict[str, Any]]:
        """Return the texts before and after, whether the ids differ, recipe and model."""
        return [
            column("original", "str", [], "info", "str"),
            column("text", "str", [], "info", "str"),
            column("reencoding_differs", "int64", [], "info", "int8"),
            column("recipe", "str", [], "info", "str"),
            column("mlm", "str", [], "info", "str"),
        ]

    def draw(self, windows: Windows, rng: np.random.Generator) -> _MaskedTexts:
        """Mask the first `block_size - 1` tokens of windows."""
        salt = int(rng.integers(np.iinfo(np.int64).max))
        counts = [self._to_whole_words(windows, row) for row in range(len(windows.texts))]
        ends = [int(windows.ends[row, count - 1]) for row, count in enumerate(counts)]
        texts = [text[:end] for text, end in zip(windows.texts, ends, strict=True)]
        documents = [
            Document(f"{salt} {row}", text, protected=self._protected_spans(windows, row))
            for row, text in enumerate(texts)
        ]
        offsets = np.stack([windows.starts, windows.ends], axis=2)
        tokens = [
            (windows.ids[row, :count], offsets[row, :count]) for row, count in enumerate(counts)
        ]
        known = dict.fromkeys(self._reading_alike, tokens)
        return _MaskedTexts(texts, self.filler.mask(documents, [0] * len(texts), tokens=known))

    def fill(self, drawn: _MaskedTexts) -> _MaskedTexts:
        """Let the models write; what they think of it is in no column."""
        self.filler.write(drawn.masked, opinion=False)
        return drawn

    def label(self, filled: _MaskedTexts) -> Columns:
        """Read the final texts again, and keep `block_size - 1` of their tokens."""
        found = self.filler.splice(filled.masked)
        items = [item if isinstance(item, FilledDocument) else None for item in found]
        texts = [
            original if item is None else item.text
            for original, item in zip(filled.texts, items, strict=True)
        ]
        shape = len(texts), self._block_size - 1
        ids = np.full(shape, self._tokenizer.pad_token_id, dtype=np.int64)
        labels = np.full(shape, NOT_COUNTED, dtype=np.int64)
        differs = np.zeros(len(texts), dtype=np.int64)
        encodings = self._encoder.encode_batch(texts, add_special_tokens=False)
        for row, (encoding, item) in enumerate(zip(encodings, items, strict=True)):
            read, offsets = ids_and_offsets(encoding)
            own = read[: shape[1]]
            ids[row, : len(own)] = own
            labels[row, : len(own)] = label_tokens(
                item.spans if item else [], len(texts[row]), offsets[: shape[1]]
            )
            if item is not None:
                differs[row] = (
                    not np.array_equal(read, item.token_ids)
                    if self._same_tokenizer[item.mlm]
                    else UNKNOWN
                )
        labels[np.isin(ids, self._special)] = NOT_COUNTED
        cls, block = self._tokenizer.cls_token_id, self._block_size
        return {
            "input_ids": add_cls_token(ids, cls, block, self._tokenizer.pad_token_id),
            "token_labels": add_cls_token(labels, NOT_COUNTED, block, NOT_COUNTED),
            "original": np.array(filled.texts, dtype=STRINGS),
            "text": np.array(texts, dtype=STRINGS),
            "reencoding_differs": differs,
            "recipe": np.array([item.recipe if item else NOTHING_TO_MASK for item in items]),
            "mlm": np.array([item.mlm if item else "" for item in items]),
        }

    def _to_whole_words(self, windows: Windows, row: int) -> int:
        """Return how many tokens of a window are left if a word that its end cuts is left out.

        So the tokens are those that the text would have alone. A window that is shorter than asked
        for ends with its document.
        """
        count, first = int(windows.lengths[row]), self._block_size - 1
        if count < self.tokens_needed:
            return count
        space = LAST_SPACE.search(windows.texts[row], int(windows.starts[row, first]))
        if space is None:
            return count
        return max(first, int(np.searchsorted(windows.starts[row, :count], space.start())))

    def _protected_spans(self, windows: Windows, row: int) -> tuple[tuple[int, int], ...]:
        """Return the characters that are never masked: of protected tokens, and of the reserve."""
        count = int(windows.lengths[row])
        tokens = np.flatnonzero(windows.protected[row, :count])
        starts, ends = windows.starts[row, tokens].tolist(), windows.ends[row, tokens].tolist()
        spans = list(zip(starts, ends, strict=True))
        if count > self._block_size - 1:
            spans.append((int(windows.starts[row, self._block_size - 1]), len(windows.texts[row])))
        return tuple(spans)
