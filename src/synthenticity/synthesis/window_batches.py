"""Masked documents through a filling model: windows, cut, batched by length, filled, put back.

A document longer than the model reads is cut into windows that cover it: each token is filled in
the window where an eighth of the window stands on either side of it, or the end of the document;
by a model that reads from left to right, where half a window stands before it.
A row of a batch is computed the same whatever stands beside it, because rows of one batch have
one padded length, and a row's length is its own.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthenticity.errors import ModelError
from synthenticity.recipe import Recipe
from synthenticity.runtimes.runtime import KERNEL_BLOCK
from synthenticity.synthesis.filling_model import FillingModel
from synthenticity.synthesis.sampling import draw_sequence_keys
from synthenticity.synthesis.spelling import Spelling, TokenizedText
from synthenticity.text.tokenization import frame_ids

WINDOW = 512
"""Tokens of a window, at most: what a model reads at once may be more, but is slower."""
SHORTEST_WINDOW = 28
CONTEXT_SHARE = 1 / 8


@dataclass(frozen=True)
class FillingModelInUse:
    """A filling model with what is known of its tokenizer."""

    engine: FillingModel
    spelling: Spelling
    name: str
    fingerprint: str
    window: int
    frame: tuple[list[int], list[int]]

    @property
    def left_to_right(self) -> bool:
        """Whether it reads only what stands before a token."""
        return self.engine.mask_token_id is None

    @classmethod
    def of(cls, engine: FillingModel) -> "FillingModelInUse":
        """Prepare a filling model; what its tokenizer cannot write alone is not written."""
        spelling = Spelling(engine.tokenizer)
        fingerprint = engine.fingerprint
        name = f"{Path(engine.name).name}@{fingerprint[:12]}"
        engine.unwritable_ids = np.union1d(engine.unwritable_ids, spelling.unwritable_ids)
        frame = frame_ids(engine.tokenizer)
        limit = min(WINDOW, engine.longest_input) // KERNEL_BLOCK * KERNEL_BLOCK
        window = limit - len(frame[0]) - len(frame[1])
        if window < SHORTEST_WINDOW:
            raise ModelError(
                f"{engine.name}: reads {engine.longest_input} tokens at once, which leaves windows "
                f"of {window}, fewer than {SHORTEST_WINDOW}. Give a model with a longer context."
            )
        return cls(engine, spelling, name, fingerprint, window, frame)


@dataclass
class MaskedText:
    """A text with masked tokens, all `[tokens]`, and what is written there.

    `keys` are those of its windows' noise, one for every sixteen tokens.
    """

    tokens: TokenizedText
    recipe: Recipe
    mask: NDArray[np.bool_]
    keys: NDArray[np.int64]
    written: NDArray[np.int64]
    log_probability: NDArray[np.float32]
    rank: NDArray[np.int32]

    @classmethod
    def of(
        cls,
        tokens: TokenizedText,
        recipe: Recipe,
        mask: NDArray[np.bool_],
        rng: np.random.Generator,
    ) -> "MaskedText":
        """Return a text of which nothing is written yet; `rng` gives its noise."""
        return cls(
            tokens,
            recipe,
            mask,
            keys=draw_sequence_keys(rng, len(tokens.ids) // KERNEL_BLOCK + 1),
            written=tokens.ids.copy(),
            log_probability=np.zeros(len(mask), dtype=np.float32),
            rank=np.full(len(mask), -1, dtype=np.int32),
        )


@dataclass(frozen=True)
class Window:
    """Tokens `start` to `end` of a text; those from `core_start` to `core_end` are filled."""

    text: MaskedText
    start: int
    end: int
    core_start: int
    core_end: int
    key: int


def write_masked(
    model: FillingModelInUse,
    texts: Sequence[MaskedText],
    *,
    batch_size: int,
    between: Callable[[], None] = lambda: None,
    opinion: bool = True,
) -> None:
    """Let a model write the masked tokens of texts into their `written`.

    `between` is called before each call of the model; without `opinion`, log-probabilities and
    ranks stay 0, which saves time where they are not asked for.
    """
    windows = [
        window
        for text in texts
        for window in cut_windows(text, model.window, left_to_right=model.left_to_right)
    ]
    rounds: dict[int, list[Window]] = {}
    for window in windows:  # left to right, a window begins with what those before have written
        turn = window.core_start if model.left_to_right else 0
        rounds.setdefault(turn, []).append(window)
    for _, part in sorted(rounds.items()):
        for batch in _batches(model, part, batch_size):
            between()
            _fill_batch(model, batch, opinion)


def _batches(
    model: FillingModelInUse, windows: Sequence[Window], batch_size: int
) -> Iterator[list[Window]]:
    """Group windows of equal padded length."""
    by_length: dict[int, list[Window]] = {}
    for window in windows:
        by_length.setdefault(_padded(model, window), []).append(window)
    for _, group in sorted(by_length.items()):
        for start in range(0, len(group), batch_size):
            yield group[start : start + batch_size]


def cut_windows(text: MaskedText, size: int, *, left_to_right: bool = False) -> Iterator[Window]:
    """Return the windows of a text that have something to fill; they cover it whole."""
    length = len(text.tokens.ids)
    before = after = 0
    if length > size:
        before = size // 2 if left_to_right else int(size * CONTEXT_SHARE)
        after = 0 if left_to_right else before
    core = size - before - after
    for number, core_start in enumerate(range(0, length, core)):
        core_end = min(core_start + core, length)
        if text.mask[core_start:core_end].any():
            start, end = max(0, core_start - before), min(length, core_end + after)
            yield Window(text, start, end, core_start, core_end, int(text.keys[number]))


def _padded(model: FillingModelInUse, window: Window) -> int:
    length = window.end - window.start + sum(map(len, model.frame))
    return -(-length // KERNEL_BLOCK) * KERNEL_BLOCK


def _fill_batch(model: FillingModelInUse, windows: Sequence[Window], opinion: bool) -> None:
    """Fill windows of equal padded length in one call."""
    before, after = model.frame
    shape = (len(windows), _padded(model, windows[0]))
    ids = np.full(shape, model.engine.tokenizer.pad_token_id or 0, dtype=np.int64)
    mask = np.zeros(shape, dtype=bool)
    visible = np.zeros(shape, dtype=np.int64)
    first = len(before)
    for row, window in enumerate(windows):
        text, size = window.text, window.end - window.start
        inside = slice(window.start, window.end)
        core = np.zeros(size, dtype=bool)
        core[window.core_start - window.start : window.core_end - window.start] = True
        own = text.written[inside].copy()
        if model.engine.mask_token_id is not None:  # what other windows fill is unknown here
            own[text.mask[inside] & ~core] = model.engine.mask_token_id
        ids[row, : first + size + len(after)] = [*before, *own, *after]
        mask[row, first : first + size] = text.mask[inside] & core
        visible[row, : first + size + len(after)] = 1
    recipes = [window.text.recipe for window in windows]
    fill = model.engine.fill(
        ids,
        mask,
        sequence_keys=np.array([window.key for window in windows], dtype=np.int64),
        attention_mask=visible,
        opinion=opinion,
        **sampling_of(recipes),
    )
    for row, window in enumerate(windows):
        columns = np.flatnonzero(mask[row])
        places = columns - first + window.start
        window.text.written[places] = fill.ids[row, columns]
        window.text.log_probability[places] = fill.log_probability[row, columns]
        window.text.rank[places] = fill.rank[row, columns]


def sampling_of(recipes: Sequence[Recipe]) -> dict[str, Any]:
    """Return how each of a batch's rows is sampled, as the filling models take it."""
    return {
        "temperature": np.array([recipe.temperature for recipe in recipes]),
        "top_k": np.array([recipe.top_k or 0 for recipe in recipes]),
        "top_p": np.array([1.0 if recipe.top_p is None else recipe.top_p for recipe in recipes]),
        "steps": np.array([recipe.steps for recipe in recipes]),
        "order": np.array([recipe.order for recipe in recipes]),
        "forbid_original": np.array([recipe.forbid_original for recipe in recipes]),
    }
