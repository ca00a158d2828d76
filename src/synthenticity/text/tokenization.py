"""The character tokenizer: a fast Hugging Face tokenizer with one token a code point.

Special tokens have ids of their own ([PAD] 0, [UNK] 1, [CLS] 2, [MASK] 3), so no character can
be mistaken for one, and text that contains the literal `[MASK]` is six characters. Offsets are
exact because a token is a character. The corpus is encoded by a table look-up in numpy that
gives the same ids as the tokenizer, some 50 times faster (docs/benchmarks.md).
"""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthenticity.errors import ConfigError, CorpusError, ModelError, model_loading
from synthenticity.seeding import digest

logger = logging.getLogger(__name__)

STRETCH = 2**18
"""So many characters are encoded at once by a tokenizer whose tokens are longer than these."""
SPECIAL_TOKENS = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]"} | {
    "mask_token": "[MASK]"
}


def build_character_tokenizer(texts: Iterable[str], *, block_size: int) -> Any:
    """Return a `PreTrainedTokenizerFast` with one token for each character of `texts`.

    >>> tokenizer = build_character_tokenizer(["hello [MASK]"], block_size=16)
    >>> tokenizer("he[MASK]", add_special_tokens=False)["input_ids"] == [
    ...     tokenizer.convert_tokens_to_ids(character) for character in "he[MASK]"
    ... ]
    True
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    characters = sorted(set().union(*map(set, texts)))
    words = [*SPECIAL_TOKENS.values(), *characters]
    vocabulary = {word: index for index, word in enumerate(words)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=block_size,
        clean_up_tokenization_spaces=False,
        split_special_tokens=True,
        **SPECIAL_TOKENS,
    )


def load_tokenizer(
    path: str | Path, *, revision: str | None = None, remote_code: bool = False
) -> Any:
    """Load the fast tokenizer saved with a checkpoint or a data set.

    `revision` is one of the hub's; `remote_code` runs the code that comes with it.

    Raises:
        ModelError: there is none, or it is not a fast one.

    """
    from transformers import AutoTokenizer

    folder = Path(path)
    if folder.is_dir() and not (folder / "tokenizer.json").is_file():
        raise ModelError(
            f"{path}: has no tokenizer.json, so no fast tokenizer. Save one with the checkpoint."
        )
    with model_loading(path, "tokenizer"):
        pinned = {} if revision is None else {"revision": revision}
        tokenizer = AutoTokenizer.from_pretrained(
            str(path), trust_remote_code=remote_code, **pinned
        )
    if not tokenizer.is_fast:
        raise ModelError(f"{path}: its tokenizer is not a fast one, so it gives no offsets.")
    return tokenizer


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """Return a digest of what decides the ids: vocabulary, rules and special tokens."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    rules = {key: backend[key] for key in ("normalizer", "pre_tokenizer", "model")}
    special = {key: tokenizer.special_tokens_map.get(key) for key in sorted(SPECIAL_TOKENS)}
    return digest(json.dumps([rules, special], sort_keys=True))


def is_character_level(tokenizer: Any) -> bool:
    """Whether every token that is not special is a single character."""
    special = set(tokenizer.all_special_tokens)
    return all(len(word) == 1 or word in special for word in tokenizer.get_vocab())


def special_ids(tokenizer: Any) -> NDArray[np.int64]:
    """Return the ids that are never sampled, never masked and never counted."""
    return np.array(sorted(set(tokenizer.all_special_ids)), dtype=np.int64)


def frame_ids(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the special ids that a tokenizer puts before and after a text: [CLS] and [SEP], say.

    A model reads best what it was trained on, so a window is framed as a whole text is. The
    character tokenizer puts nothing around a text.

    >>> frame_ids(build_character_tokenizer(["abc"], block_size=16))
    ([], [])
    """
    encoding = tokenizer("a", return_special_tokens_mask=True)
    ids, special = encoding["input_ids"], encoding["special_tokens_mask"]
    first = special.index(0) if 0 in special else len(ids)
    last = len(special) - special[::-1].index(0) if 0 in special else len(ids)
    return list(ids[:first]), list(ids[last:])


def encode(tokenizer: Any, text: str) -> NDArray[np.int64]:
    """Return the ids of a text `[tokens]`, without special tokens around it."""
    return encode_with_offsets(tokenizer, text)[0]


def encode_with_offsets(tokenizer: Any, text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return ids `[tokens]` and character offsets `[tokens, 2]` of a text.

    A special token spelt out in the text is text: `[MASK]` never becomes a mask.
    """
    return encode_all_with_offsets(tokenizer, [text])[0]


def encode_all_with_offsets(
    tokenizer: Any, texts: Sequence[str]
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return what `encode_with_offsets` does of each text, on all cores."""
    table = character_table(tokenizer)
    if table is not None:
        places = np.arange(1 + max(map(len, texts), default=0), dtype=np.int64)
        pairs = np.stack([places[:-1], places[1:]], axis=1)
        return [
            (encode_characters(table, text, tokenizer.unk_token_id), pairs[: len(text)].copy())
            for text in texts
        ]
    short = [text for text in texts if len(text) <= STRETCH]
    encodings = iter(encode_texts(tokenizer, short))
    return [
        ids_and_offsets(next(encodings)) if len(text) <= STRETCH else _encode_long(tokenizer, text)
        for text in texts
    ]


def _encode_long(tokenizer: Any, text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return ids and offsets of a text, encoded stretch by stretch: the tokenizer needs 900 bytes
    for each token of what it encodes at once.
    """
    parts = []
    start = 0
    while start < len(text):
        end = _stretch_end(text, start)
        ids, offsets = ids_and_offsets(encode_texts(tokenizer, [text[start:end]])[0])
        parts.append((ids, offsets + start))
        start = end
    return (
        np.concatenate([ids for ids, _ in parts]),
        np.concatenate([offsets for _, offsets in parts]),
    )


def _stretch_end(text: str, start: int) -> int:
    """Return where a stretch ends: before a space behind something else, where tokenizers begin a
    word anew; or before other white space; somewhere, if there is none.
    """
    end = start + STRETCH
    if end >= len(text):
        return len(text)
    for spaces in (" ", None):
        for place in range(end, start + STRETCH // 2, -1):
            white = text[place] == spaces if spaces else text[place].isspace()
            if white and not text[place - 1].isspace():
                return place
    return end


def ids_and_offsets(encoding: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return ids `[tokens]` and offsets `[tokens, 2]` of an encoding as arrays."""
    ids = np.array(encoding.ids, dtype=np.int64)
    # Numpy by itself would look at each pair twice.
    flat = np.fromiter(chain.from_iterable(encoding.offsets), np.int64, 2 * len(ids))
    return ids, flat.reshape(-1, 2)


def encode_characters(table: NDArray[np.int64], text: str, unknown_id: int) -> NDArray[np.int64]:
    """Return the ids `[characters]` of a text by the table of a character tokenizer."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    known = points < len(table)
    return np.where(known, table[np.where(known, points, 0)], unknown_id)


def encode_texts(tokenizer: Any, texts: Sequence[str]) -> list[Any]:
    """Return the encodings (`ids`, `offsets`) of whole texts as text: nothing put around them,
    cut off or padded, and special tokens spelt out in them as any other characters.
    """
    backend = tokenizer.backend_tokenizer
    truncation, padding = backend.truncation, backend.padding
    as_text = backend.encode_special_tokens
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True
    try:
        return list(backend.encode_batch(list(texts), add_special_tokens=False))
    finally:
        backend.encode_special_tokens = as_text
        if truncation is not None:
            backend.enable_truncation(**truncation)
        if padding is not None:
            backend.enable_padding(**padding)


def text_encoder(tokenizer: Any) -> Any:
    """Return a copy of a tokenizer's backend that encodes as `encode_texts` does.

    Its settings are never changed again, so a thread may use it beside one that uses the tokenizer.
    """
    from tokenizers import Tokenizer

    copy = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    copy.encode_special_tokens = True
    return copy


def character_table(tokenizer: Any) -> NDArray[np.int64] | None:
    """Return the id of every code point, or None if tokens are longer than a character."""
    backend = tokenizer.backend_tokenizer
    return _table_of(backend.to_str()) if type(backend.model).__name__ == "WordLevel" else None


@lru_cache(maxsize=8)
def _table_of(serialized: str) -> NDArray[np.int64] | None:
    model = json.loads(serialized)["model"]
    vocabulary: dict[str, int] = model["vocab"]
    special = set(SPECIAL_TOKENS.values())
    characters = {word: index for word, index in vocabulary.items() if word not in special}
    if not characters or any(len(word) != 1 for word in characters):
        return None
    unknown = vocabulary[model["unk_token"]]
    table = np.full(max(map(ord, characters)) + 1, unknown, dtype=np.int64)
    for character, index in characters.items():
        table[ord(character)] = index
    return table


def check_unknown(
    character_counts: NDArray[np.int64], tokenizer: Any, allowed_share: float
) -> float:
    """Return the share of a corpus's characters that become [UNK] in a character tokenizer.

    `character_counts` `[code points]` says how often each occurs. Other tokenizers are not asked.

    Raises:
        CorpusError: the share exceeds `allowed_share`; says how many, which and what to do.

    """
    if not is_character_level(tokenizer):
        return 0.0
    known = set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)
    occurring = np.flatnonzero(character_counts).tolist()
    unknown = Counter({chr(n): int(character_counts[n]) for n in occurring if chr(n) not in known})
    if not unknown:
        return 0.0
    total = int(character_counts.sum())
    share = unknown.total() / total
    examples = ", ".join(f"{word!r} x {count}" for word, count in unknown.most_common(5))
    report = (
        f"{unknown.total():,} of {total:,} characters ({share:.2%}) are unknown to the "
        f"tokenizer and become [UNK]: {examples}"
    )
    if share > allowed_share:
        raise CorpusError(
            f"corpus: {report}. Train the MLM on this corpus, clean the text, "
            f"or raise max_unknown_share (now {allowed_share:g})."
        )
    logger.warning("%s", report)
    return share


def check_cls_token_id(tokenizer: Any, asked: int | None) -> int:
    """Return the id of [CLS].

    Raises:
        ConfigError: the asked id belongs to another token; names it.

    """
    own = tokenizer.cls_token_id
    if own is None:
        raise ConfigError("cls_token_id: the tokenizer has no [CLS] token.")
    if asked is not None and asked != own:
        taken = tokenizer.convert_ids_to_tokens(asked) if asked < len(tokenizer) else None
        whose = f"is the token {taken!r}" if taken is not None else "is outside the vocabulary"
        raise ConfigError(
            f"cls_token_id: {asked} {whose}; the tokenizer's [CLS] is {own}. "
            f"Write cls_token_id = {own}, or leave it out."
        )
    return int(own)
