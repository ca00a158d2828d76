"""How a tokenizer's tokens stand in a text: from text to tokens, from written ids to text.

Every token owns a stretch of the text, its extent: from the end of the token before it to its
own end, so the space before a word belongs to the word. What is written in a token's place
replaces its extent and nothing else; all other characters are copied from the original, never
decoded from ids. What an id looks like in text is asked of the tokenizer's own decoder once, for
the whole vocabulary (30,522 ids: a tenth of a second).
"""

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthenticity.text.tokenization import ids_and_offsets, special_ids

SCRIPT_WITHOUT_SPACES = 0x2E80
"""From here on (CJK, Hangul, ...) no space is put between two letters that meet."""
CLOSING = frozenset(".,;:!?)]}%…”’»")
NOT_TEXT = re.compile(r"[\[<]unused_?\d+[\]>]")
"""Places in a vocabulary that were never trained."""
TRIMMED = re.compile(r'("trim_offsets":\s*)true')
MARKS = ("Mn", "Mc", "Me", "Cf")
LEAD = re.compile(r"\s*")


@dataclass(frozen=True)
class TokenizedText:
    """A text as tokens, all `[tokens]`.

    `starts` and `ends` are the characters that each token was made of; the extents, from
    `extent_starts` to `ends`, lie one behind the other. `maskable` tokens are ordinary ones with
    characters of their own (not a byte of a character, not a part of an expanded one).
    """

    text: str
    ids: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    extent_starts: NDArray[np.int64]
    maskable: NDArray[np.bool_]
    counted: NDArray[np.bool_]

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Character offsets `[tokens, 2]`."""
        return np.stack([self.starts, self.ends], axis=1)


class Spelling:
    """The written form of a tokenizer's vocabulary.

    Attributes:
        unwritable_ids: ids that are no text by themselves, beside the special ones: single bytes
            of longer characters, added tokens, untrained places.

    """

    def __init__(self, tokenizer: Any) -> None:
        from tokenizers import Tokenizer

        # With a word's space outside of its offsets, a token that is but a space has none.
        settings = TRIMMED.sub(r"\1false", tokenizer.backend_tokenizer.to_str())
        self._backend = Tokenizer.from_str(settings)
        self._backend.no_truncation()
        self._backend.no_padding()
        self._backend.encode_special_tokens = True  # a literal [MASK] in a text is text
        self.special_ids = special_ids(tokenizer)
        self._is_special = np.zeros(1 + max(tokenizer.get_vocab().values()), dtype=bool)
        self._is_special[self.special_ids] = True
        self._spaces_are_tokens = '"WordPiece"' not in json.dumps(json.loads(settings)["decoder"])
        self.surfaces = self._read_surfaces(tokenizer)
        normalizer = self._backend.normalizer
        self._lower_cases = normalizer is not None and "q" in normalizer.normalize_str("Q")
        bad = [
            index
            for index, surface in enumerate(self.surfaces)
            if not surface or "\ufffd" in surface or NOT_TEXT.fullmatch(surface.strip())
        ]
        added = list(tokenizer.added_tokens_decoder)
        not_alone = np.array([*bad, *added], dtype=np.int64)
        self.unwritable_ids = np.setdiff1d(not_alone, self.special_ids)

    def _read_surfaces(self, tokenizer: Any) -> list[str]:
        """Return what each id adds to a text when it follows a letter."""
        anchor = next(
            index
            for word in ("a", "A", "e", "1", *tokenizer.get_vocab())
            if (index := self._backend.token_to_id(word)) is not None
            and index not in self.special_ids
        )
        before = self._backend.decode([anchor], skip_special_tokens=False)
        pairs = [[anchor, index] for index in range(len(self._is_special))]
        both = self._backend.decode_batch(pairs, skip_special_tokens=False)
        return [text.removeprefix(before) if text.startswith(before) else "" for text in both]

    def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
        """Return texts as tokens, without special tokens around them."""
        encodings = self._backend.encode_batch(list(texts), add_special_tokens=False)
        return [
            self.tokenized(text, *ids_and_offsets(encoding))
            for text, encoding in zip(texts, encodings, strict=True)
        ]

    def reads_like(self, tokenizer: Any) -> bool:
        """Whether a tokenizer makes the same tokens of a text, with the same offsets."""
        own, other = (
            json.loads(backend.to_str()) | {"truncation": None, "padding": None}
            for backend in (self._backend, tokenizer.backend_tokenizer)
        )
        return bool(own == other)

    def tokenized(
        self, text: str, ids: NDArray[np.int64], offsets: NDArray[np.int64]
    ) -> TokenizedText:
        """Return a text as its tokens: ids `[tokens]` and character offsets `[tokens, 2]`."""
        starts, ends = offsets[:, 0], np.maximum.accumulate(offsets[:, 1])
        following = np.concatenate([starts[1:], [len(text)]])[: len(ids)]
        ends = _with_marks(text, ends, following)
        before = np.concatenate([starts[:1], ends[:-1]])
        apart = (starts >= before) & (ends > starts) & (following >= ends)
        special = self._is_special[ids]
        return TokenizedText(
            text, ids, starts, ends, np.minimum(before, ends), apart & ~special, ~special
        )

    def write(
        self, original: TokenizedText, written: NDArray[np.int64], mask: NDArray[np.bool_]
    ) -> tuple[list[str], NDArray[np.bool_]]:
        """Return what stands in the extents of the masked tokens, and which of them are restored.

        `written` and `mask` are `[tokens]`; the texts and `restored` `[masked]` are in order. A
        token is restored if it is the same, or looks the same in the text.
        """
        places = np.flatnonzero(mask)
        text, pieces = original.text, []
        restored = written[places] == original.ids[places]
        last_end, last_character = -1, ""
        starts, bodies, ends = (
            values[places].tolist()
            for values in (original.extent_starts, original.starts, original.ends)
        )
        for number, index in enumerate(written[places].tolist()):
            start, end = starts[number], ends[number]
            old = text[start:end]
            if start != last_end:
                last_character = text[start - 1 : start]
            if restored[number]:
                piece = old
            else:
                lead = text[start : bodies[number]]
                piece = self._spell(lead, text[bodies[number] : end], index, last_character)
                ends_run = number + 1 == len(places) or places[number + 1] != places[number] + 1
                if ends_run and self._needs_space(piece, original, int(places[number]) + 1):
                    piece += " "
                restored[number] = piece == old
            pieces.append(piece)
            last_end, last_character = end, piece[-1:]
        return pieces, restored

    def _spell(self, lead: str, body: str, index: int, previous: str) -> str:
        """Return the text of an id in the place of `lead + body`, after the character `previous`.

        White space before the token stays, unless it is a single space and the token would not
        have one before it.
        """
        surface = self.surfaces[index]
        if body.strip():
            space = LEAD.match(body)
            lead, body = lead + body[: space.end()], body[space.end() :]  # type: ignore[union-attr]
        word = surface.removeprefix(" ") or surface
        spaced = word != surface
        if self._lower_cases:
            word = _in_case_of(word, body)
        if lead not in ("", " "):
            return lead + word
        if not previous:
            return word
        if self._spaces_are_tokens:
            return " " + word if spaced else word
        if lead:
            return lead + word if spaced and word[0] not in CLOSING else word
        return " " + word if spaced and _meet(previous, word[0]) else word

    def _needs_space(self, piece: str, original: TokenizedText, following: int) -> bool:
        """Whether a written word would grow together with the untouched word behind it."""
        if self._spaces_are_tokens or following >= len(original.ids):
            return False
        start = int(original.starts[following])
        glued = not self.surfaces[int(original.ids[following])].startswith(" ")
        if glued or start != original.extent_starts[following]:
            return False
        return _meet(piece[-1:], original.text[start : start + 1])


def _with_marks(
    text: str, ends: NDArray[np.int64], following: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the ends of tokens with the combining and joining characters that follow them.

    Some tokenizers drop these; they belong to what they are put on.
    """
    if text.isascii():
        return ends
    ends = ends.copy()
    for token in np.flatnonzero(following > ends):
        place, stop = int(ends[token]), int(following[token])
        while place < stop and unicodedata.category(text[place]) in MARKS:
            place += 1
        ends[token] = place
    return ends


def _meet(left: str, right: str) -> bool:
    """Whether two characters, side by side, would make one word of two."""
    spaced = max(ord(left or " "), ord(right or " ")) < SCRIPT_WITHOUT_SPACES
    return spaced and left.isalnum() and right.isalnum()


def _in_case_of(word: str, model: str) -> str:
    """Return a lower-case word in the case of the one it replaces; single letters say nothing.

    >>> _in_case_of("queen", "King"), _in_case_of("queen", "KING"), _in_case_of("the", "I")
    ('Queen', 'QUEEN', 'the')
    """
    if len(model) > 1 and model.isupper():
        return word.upper()
    if len(model) > 1 and model[0].isupper():
        return word[0].upper() + word[1:]
    return word
