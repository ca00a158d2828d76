"""Windows: stretches of a pool's texts as tokens, cut where they are drawn, read from disk.

A window never crosses documents; a document that is shorter gives a shorter window. Of character
tokens every position is equally likely. Sub-word windows begin with the word of a character that
is drawn uniformly and are tokenized on the fly, so they hold what the tokenizer makes of text that
begins there, and a corpus needs no pass of the tokenizer before it is used.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthenticity.errors import CorpusError, ModelError
from synthenticity.seeding import numpy_rng
from synthenticity.text.corpus import Corpus
from synthenticity.text.splits import Pool
from synthenticity.text.tokenization import (
    character_table,
    encode_characters,
    encode_texts,
    ids_and_offsets,
)
from synthenticity.text.units import token_units, touching_tokens

SNAP = 64
"""A word is looked for so many characters before the drawn one."""
PROTECT_CONTEXT = 512
"""A match of `protect` is seen whole if it reaches so far out of its window."""
MEASURED_STRETCHES, MEASURED_CHARACTERS = 64, 1024
DRAWS = 100


@dataclass(frozen=True)
class Windows:
    """Stretches of at most `length` tokens.

    `texts`, `documents` (names) and `offsets` (the character of its document that a text begins
    with) are `[count]`, `lengths` the tokens of each. Of the tokens, `[count, length]`: `ids`,
    `starts` and `ends` (characters of the text), `protected` (never to be masked), and in `units`
    the unit numbers of each kind that the pool was asked for. Behind a window's last token stand
    [PAD], the length of the text, True and -1.
    """

    texts: list[str]
    ids: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    lengths: NDArray[np.int64]
    documents: list[str]
    offsets: NDArray[np.int64]
    protected: NDArray[np.bool_]
    units: dict[str, NDArray[np.int64]]

    @property
    def attention_mask(self) -> NDArray[np.int64] | None:
        """Which tokens are no padding, `[count, length]`; None if none is."""
        if (self.lengths == self.ids.shape[1]).all():
            return None
        return (np.arange(self.ids.shape[1]) < self.lengths[:, None]).astype(np.int64)


@dataclass(frozen=True)
class _Cut:
    """Windows before they are padded: their text, ids and character offsets `[tokens, 2]`."""

    document: int
    start: int
    text: str
    ids: NDArray[np.int64]
    offsets: NDArray[np.int64]


class TokenPool:
    """A pool of a corpus, ready to cut windows from.

    Args:
        corpus: the documents.
        pool: those, or the stretches of those, that windows are cut from.
        tokenizer: fast, with offsets.
        window_length: tokens of a window.
        unit_kinds: number the tokens' units of these kinds, too.
        protect: a regular expression; tokens that touch a match are marked.

    Raises:
        ModelError: the tokenizer has no padding token.

    """

    def __init__(
        self,
        corpus: Corpus,
        pool: Pool,
        tokenizer: Any,
        window_length: int,
        *,
        unit_kinds: Sequence[str] = (),
        protect: str | None = None,
    ) -> None:
        if tokenizer.pad_token_id is None:
            raise ModelError("tokenizer: has no padding token, so windows cannot be of one length.")
        self.window_length = window_length
        self._corpus, self._pool, self._tokenizer = corpus, pool, tokenizer
        self._unit_kinds, self._protect = tuple(unit_kinds), protect
        self._spans = corpus.spans()
        self._table = character_table(tokenizer)
        lengths = pool.ends - pool.starts
        span = window_length
        if self._table is None:
            self._characters = self._characters_per_token()
            span = math.ceil(window_length * self._characters)
        self._places = np.maximum(lengths - span + 1, 1)
        self._place_ends = np.cumsum(self._places)

    @property
    def names(self) -> list[str]:
        """What the records call the stretches of the pool."""
        return [self._name(number) for number in range(len(self._pool.documents))]

    def _name(self, stretch: int) -> str:
        name = self._corpus.names.read(int(self._pool.documents[stretch]))
        return name if self._pool.whole else f"{name}@{self._pool.starts[stretch]}"

    def sample_windows(self, rng: np.random.Generator, count: int) -> Windows:
        """Draw windows uniformly among all positions, with replacement."""
        stretches, offsets = self._draw(rng, count)
        if self._table is not None:
            cuts = self._cut_characters(self._table, stretches, offsets)
        else:
            cuts = self._cut_words(stretches, offsets)
            for _ in range(DRAWS):
                if not (empty := [row for row, cut in enumerate(cuts) if not len(cut.ids)]):
                    break
                stretches[empty], offsets[empty] = self._draw(rng, len(empty))
                again = self._cut_words(stretches[empty], offsets[empty])
                for row, cut in zip(empty, again, strict=True):
                    cuts[row] = cut
            else:
                raise CorpusError(
                    "corpus: the tokenizer makes no token of most of the text. Give other text."
                )
        return self._windows(stretches, cuts)

    def _draw(
        self, rng: np.random.Generator, count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return stretches `[count]` and places in them `[count]`."""
        picks = rng.integers(self._place_ends[-1], size=count)
        stretches = np.searchsorted(self._place_ends, picks, side="right")
        return stretches, picks - (self._place_ends[stretches] - self._places[stretches])

    def _bounds(self, stretch: int) -> tuple[int, int, int]:
        pool = self._pool
        return int(pool.documents[stretch]), int(pool.starts[stretch]), int(pool.ends[stretch])

    def _cut_characters(
        self, table: NDArray[np.int64], stretches: NDArray[np.int64], offsets: NDArray[np.int64]
    ) -> list[_Cut]:
        cuts = []
        for stretch, offset in zip(stretches.tolist(), offsets.tolist(), strict=True):
            document, first, end = self._bounds(stretch)
            start = first + offset
            text = self._corpus.texts.read(document, start, min(start + self.window_length, end))
            places = np.arange(len(text))
            ids = encode_characters(table, text, self._tokenizer.unk_token_id)
            cuts.append(_Cut(document, start, text, ids, np.stack([places, places + 1], axis=1)))
        return cuts

    def _cut_words(self, stretches: NDArray[np.int64], offsets: NDArray[np.int64]) -> list[_Cut]:
        """Cut windows that begin with the words of the drawn characters."""
        cuts: list[_Cut | None] = [None] * len(stretches)
        starts = [
            self._word_start(int(stretch), int(offset))
            for stretch, offset in zip(stretches, offsets, strict=True)
        ]
        reach = math.ceil(self.window_length * self._characters * 1.25) + SNAP
        while todo := [row for row, cut in enumerate(cuts) if cut is None]:
            read = [self._whole_words(int(stretches[row]), starts[row], reach) for row in todo]
            encodings = encode_texts(self._tokenizer, [text for text, _ in read])
            for row, (text, is_all), encoding in zip(todo, read, encodings, strict=True):
                if is_all or len(encoding.ids) > self.window_length:
                    document = int(self._pool.documents[stretches[row]])
                    cuts[row] = self._cut_tokens(document, starts[row], text, encoding)
            reach *= 2
        return [cut for cut in cuts if cut is not None]

    def _word_start(self, stretch: int, offset: int) -> int:
        """Return the character of the document that the word around a place begins with."""
        document, first, _ = self._bounds(stretch)
        start = first + offset
        before = self._corpus.texts.read(document, max(first, start - SNAP), start)
        space = re.search(r"\s\S*\Z", before)
        if space is None:
            return first if start - SNAP <= first else start
        return start - len(before) + space.start() + 1

    def _whole_words(self, stretch: int, start: int, reach: int) -> tuple[str, bool]:
        """Return text up to the last whole word within reach, and whether it is all there is."""
        document, _, end = self._bounds(stretch)
        text = self._corpus.texts.read(document, start, min(start + reach, end))
        if start + reach >= end:
            return text, True
        space = re.search(r"\s\S*\Z", text)
        return text[: space.start()] if space and space.start() else text, False

    def _cut_tokens(self, document: int, start: int, text: str, encoding: Any) -> _Cut:
        """Return the first tokens; the text ends with them, and no character is cut by the end."""
        ids, offsets = ids_and_offsets(encoding)
        count = min(self.window_length, len(ids))
        while 0 < count < len(ids) and offsets[count, 0] < offsets[count - 1, 1]:
            count -= 1  # a character of several tokens
        end = int(offsets[count - 1, 1]) if count else 0
        return _Cut(document, start, text[:end], ids[:count], offsets[:count])

    def _characters_per_token(self) -> float:
        """Measure a sample of the pool: the same for the same corpus, whatever else happens."""
        lengths = self._pool.ends - self._pool.starts
        rng = numpy_rng(0, "pool", 0, "characters per token")
        picks = np.sort(rng.integers(lengths.sum(), size=MEASURED_STRETCHES))
        stretches = np.searchsorted(lengths.cumsum(), picks, side="right")
        starts = picks - (lengths.cumsum()[stretches] - lengths[stretches])
        texts = []
        for stretch, offset in zip(stretches.tolist(), starts.tolist(), strict=True):
            document, first, end = self._bounds(stretch)
            last = min(first + offset + MEASURED_CHARACTERS, end)
            texts.append(self._corpus.texts.read(document, first + offset, last))
        tokens = sum(len(encoding.ids) for encoding in encode_texts(self._tokenizer, texts))
        return sum(map(len, texts)) / max(tokens, 1)

    def _windows(self, stretches: NDArray[np.int64], cuts: list[_Cut]) -> Windows:
        """Pad the windows to one length, and mark their units and what is protected."""
        shape = len(cuts), self.window_length
        ids = np.full(shape, self._tokenizer.pad_token_id, dtype=np.int64)
        starts, ends = np.empty(shape, np.int64), np.empty(shape, np.int64)
        protected = np.ones(shape, dtype=bool)
        units = {kind: np.full(shape, -1, dtype=np.int64) for kind in self._unit_kinds}
        for row, cut in enumerate(cuts):
            count = len(cut.ids)
            ids[row, :count] = cut.ids
            starts[row], ends[row] = len(cut.text), len(cut.text)
            starts[row, :count], ends[row, :count] = cut.offsets.T
            protected[row, :count] = self._protected(cut)
            for kind, numbers in units.items():
                numbers[row, :count] = token_units(cut.text, cut.offsets, kind)
        pool_starts = (
            np.zeros(len(cuts), np.int64) if self._pool.whole else self._pool.starts[stretches]
        )
        return Windows(
            texts=[cut.text for cut in cuts],
            ids=ids,
            starts=starts,
            ends=ends,
            lengths=np.array([len(cut.ids) for cut in cuts], dtype=np.int64),
            documents=[self._name(int(stretch)) for stretch in stretches],
            offsets=np.array([cut.start for cut in cuts], dtype=np.int64) - pool_starts,
            protected=protected,
            units=units,
        )

    def _protected(self, cut: _Cut) -> NDArray[np.bool_]:
        """Return which tokens touch a protected span of the document or a match of `protect`."""
        first, last = np.searchsorted(self._spans[:, 0], [cut.document, cut.document + 1])
        spans = [(start - cut.start, end - cut.start) for _, start, end in self._spans[first:last]]
        if self._protect is not None:
            before = min(PROTECT_CONTEXT, cut.start)
            end = cut.start + len(cut.text) + PROTECT_CONTEXT
            around = self._corpus.texts.read(cut.document, cut.start - before, end)
            found = re.finditer(self._protect, around)
            spans += [(match.start() - before, match.end() - before) for match in found]
        return touching_tokens(spans, cut.offsets, len(cut.text))
