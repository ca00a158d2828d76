"""The tokenizers of the families, each trained on the spot and wrapped as its family wraps it.

Where transformers has a class of its own for a family, it is built by that class, because that is
how a hub checkpoint is loaded: the class takes the vocabulary and makes the rules anew. Where
checkpoints carry the generic class (ModernBERT, mmBERT, Llama 3), the rules are in the file.
Order and form of the special tokens are the published ones.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    processors,
    trainers,
)
from tokenizers import pre_tokenizers as pre
from transformers import (
    AlbertTokenizer,
    BertTokenizer,
    DebertaTokenizer,
    DebertaV2Tokenizer,
    GPT2Tokenizer,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
)

from families.prose import PROSE

BERT_SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LENGTH = 128
SPLIT_OF_LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def eats_space_before(content: str) -> AddedToken:
    """Return a mask token that takes the space before it, as most of the real ones do."""
    return AddedToken(content, lstrip=True, normalized=False, special=True)


def wrapped(backend: Tokenizer, **specials: Any) -> Any:
    """Return a tokenizer of the generic class."""
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=LENGTH,
        clean_up_tokenization_spaces=False,
        **specials,
    )


def framed(backend: Tokenizer, first: str, last: str | None) -> None:
    """Put special tokens around each text."""
    names = [name for name in (first, last) if name is not None]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}" if last else f"{first} $A",
        pair=f"{first} $A {last} $B {last}" if last else f"{first} $A {first} $B:1",
        special_tokens=[(name, backend.token_to_id(name)) for name in names],
    )


def trained_pieces(
    texts: Iterable[str], size: int, pre_tokenizer: Any, normalizer: Any = None, **training: Any
) -> Tokenizer:
    """Return a BPE tokenizer: what all the vocabularies come from.

    The other trainers break ties by the order of a hash table, another one in each process.
    """
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        backend.normalizer = normalizer
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, **training)
    backend.train_from_iterator(texts, trainer)
    return backend


def by_id(backend: Tokenizer) -> dict[str, int]:
    return dict(sorted(backend.get_vocab().items(), key=lambda item: item[1]))


def merges_of(backend: Tokenizer) -> list[tuple[str, str]]:
    return [tuple(pair) for pair in json.loads(backend.to_str())["model"]["merges"]]


@cache
def wordpiece_vocabulary(lowercase: bool) -> dict[str, int]:
    """Return a WordPiece vocabulary; three families share one, as the real ones do."""
    normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    trained = trained_pieces(PROSE, 700, pre.BertPreTokenizer(), normalizer)
    first, continuing = set("".join(trained.get_vocab())), set()
    for encoding in trained.encode_batch(PROSE):
        words = encoding.word_ids
        for piece, word, before in zip(encoding.tokens, words, [None, *words], strict=False):
            (continuing if word == before else first).add(piece)
    words = [*BERT_SPECIALS, *sorted(first), *(f"##{piece}" for piece in sorted(continuing))]
    return {word: index for index, word in enumerate(words)}


def bert(*, cased: bool) -> Any:
    return BertTokenizer(
        vocab=wordpiece_vocabulary(not cased), do_lower_case=not cased, model_max_length=LENGTH
    )


def bert_of_characters() -> Any:
    """Return the tokenizer of bert-base-chinese: every character alone, and once more with ##."""
    characters = sorted(set("".join(PROSE)) - set(" \n"))
    words = [*BERT_SPECIALS, *characters, *(f"##{character}" for character in characters)]
    vocabulary = {word: index for index, word in enumerate(words)}
    return BertTokenizer(vocab=vocabulary, do_lower_case=False, model_max_length=LENGTH)


@cache
def byte_level_pieces(specials: tuple[str, ...]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return vocabulary and merges of a byte-level BPE; the special tokens have the first ids."""
    trained = trained_pieces(
        PROSE,
        700,
        pre.ByteLevel(add_prefix_space=False),
        special_tokens=list(specials),
        initial_alphabet=pre.ByteLevel.alphabet(),
    )
    return by_id(trained), merges_of(trained)


def roberta() -> Any:
    vocabulary, merges = byte_level_pieces(("<s>", "<pad>", "</s>", "<unk>"))
    return RobertaTokenizer(
        vocab=vocabulary,
        merges=merges,
        mask_token=eats_space_before("<mask>"),
        model_max_length=LENGTH,
    )


def deberta() -> Any:
    vocabulary, merges = byte_level_pieces(("[PAD]", "[CLS]", "[SEP]", "[UNK]"))
    return DebertaTokenizer(
        vocab=vocabulary,
        merges=merges,
        mask_token=eats_space_before("[MASK]"),
        model_max_length=LENGTH,
    )


def modernbert() -> Any:
    """Return a tokenizer with runs of spaces and place-holders as added tokens, not special."""
    vocabulary, merges = byte_level_pieces(("|||IP_ADDRESS|||", "<|padding|>"))
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_tokens([AddedToken("|||IP_ADDRESS|||", normalized=True)])
    backend.add_tokens([AddedToken(" " * width, normalized=True) for width in range(24, 1, -1)])
    backend.add_tokens([AddedToken("|||EMAIL_ADDRESS|||", normalized=True)])
    backend.add_special_tokens(["<|padding|>", "[UNK]", "[CLS]", "[SEP]", "[PAD]"])
    backend.add_special_tokens([eats_space_before("[MASK]")])
    backend.add_tokens([AddedToken(f"[unused{n}]", normalized=True) for n in range(3)])
    framed(backend, "[CLS]", "[SEP]")
    return wrapped(
        backend,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        mask_token=eats_space_before("[MASK]"),
    )


def gpt2() -> Any:
    vocabulary, merges = byte_level_pieces(("<|endoftext|>",))
    tokenizer = GPT2Tokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def llama_3() -> Any:
    vocabulary, merges = byte_level_pieces(())
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
    backend.pre_tokenizer = pre.Sequence(
        [
            pre.Split(Regex(SPLIT_OF_LLAMA_3), behavior="isolated"),
            pre.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>"])
    framed(backend, "<|begin_of_text|>", None)
    return wrapped(backend, bos_token="<|begin_of_text|>", eos_token="<|end_of_text|>")


def unigram_pieces(
    specials: list[str], normalizer: normalizers.Normalizer
) -> list[tuple[str, float]]:
    """Return the pieces of a SentencePiece unigram model, each with its log-probability."""
    words = pre.Sequence([pre.WhitespaceSplit(), pre.Metaspace()])
    trained = trained_pieces(PROSE, 800, words, normalizer)
    counts = Counter(dict.fromkeys(by_id(trained), 1))
    for encoding in trained.encode_batch(PROSE):
        counts.update(encoding.tokens)
    scored = [(piece, math.log(count / counts.total())) for piece, count in counts.items()]
    return [*((special, 0.0) for special in specials), *sorted(scored, key=lambda pair: -pair[1])]


def albert() -> Any:
    normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    )
    specials = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"]
    return AlbertTokenizer(
        vocab=unigram_pieces(specials, normalizer),
        mask_token=eats_space_before("[MASK]"),
        model_max_length=LENGTH,
    )


def xlm_roberta() -> Any:
    """Return the tokenizer of XLM-R with NFKC in the place of its own table of the same folding."""
    pieces = unigram_pieces(["<s>", "<pad>", "</s>", "<unk>"], normalizers.NFKC())
    backend = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre.Sequence([pre.WhitespaceSplit(), pre.Metaspace()])
    backend.decoder = decoders.Metaspace()
    backend.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", eats_space_before("<mask>")])
    framed(backend, "<s>", "</s>")
    return wrapped(
        backend,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token=eats_space_before("<mask>"),
    )


def deberta_v2() -> Any:
    """Return the tokenizer of DeBERTa-v3, whose [MASK] comes after the vocabulary."""
    pieces = unigram_pieces(["[PAD]", "[CLS]", "[SEP]", "[UNK]"], normalizers.NFC())
    return DebertaV2Tokenizer(vocab=pieces, unk_id=3, model_max_length=LENGTH)


def mmbert() -> Any:
    """Return the tokenizer of mmBERT (Gemma's): SentencePiece BPE whose unknowns become bytes."""
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    rare = {character for character, count in Counter("".join(PROSE)).items() if count < 3}
    known = ["".join(character for character in text if character not in rare) for text in PROSE]
    trained = trained_pieces(known, 700, pre.Metaspace(prepend_scheme="never"))
    layout = ["\n", "\n\n", "▁▁", "▁▁▁"]
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    words = dict.fromkeys([*specials, *layout, *bytes_, *by_id(trained)])
    backend = Tokenizer(
        models.BPE(
            vocab={word: index for index, word in enumerate(words)},
            merges=[*merges_of(trained), ("▁", "▁"), ("▁▁", "▁")],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre.Split(" ", behavior="merged_with_previous")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    backend.add_special_tokens(specials)
    backend.add_tokens([AddedToken(word, normalized=False) for word in layout])
    framed(backend, "<bos>", "<eos>")
    return wrapped(
        backend,
        bos_token="<bos>",
        eos_token="<eos>",
        cls_token="<bos>",
        sep_token="<eos>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token="<mask>",
    )
