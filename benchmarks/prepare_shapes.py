"""Settings and random weights of the shapes at which benchmarks/prepare.py runs `prepare`.

What a forward costs does not depend on what a model has learnt, so nothing is trained but the
tokenizer: characters at S, 30,522 WordPieces of Shakespeare (and what fills them up) at M.
"""

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from tokenizers import BertWordPieceTokenizer

from synthenticity.config import Config
from synthenticity.text.reading import CorpusSource, read_documents
from synthenticity.text.tokenization import build_character_tokenizer

CORPUS = "shakespeare"
VOCABULARY = 30_522
LENGTHS = {"S": 256, "M": 128}
SIZE = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12} | {
    "intermediate_size": 1536
}


def settings(folder: Path, shape: str, ratio: float, **changed: object) -> Config:
    """Return the settings of scorer data at a shape, filled by a model that is made in a folder."""
    place = folder / shape
    if not place.exists():
        _save_model(place, shape)
    return Config(
        corpus=CORPUS,
        mlm_checkpoint_path=str(place),
        block_size=LENGTHS[shape],
        mask_probability_range=(ratio, ratio),
        untouched_share=0.0,
        all_filled_share=0.0,
        near_duplicates=0.0,
        fill_cache_mib=0,  # the same rows are filled again and again
        **changed,  # type: ignore[arg-type]
    )


def _save_model(place: Path, shape: str) -> None:
    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    tokenizer = _character_tokenizer() if shape == "S" else _word_pieces()
    config = transformers.BertConfig(vocab_size=len(tokenizer), **SIZE)
    transformers.BertForMaskedLM(config).save_pretrained(place)
    tokenizer.save_pretrained(place)


def _character_tokenizer() -> Any:
    alphabet = sorted({character for text in _texts() for character in text})
    return build_character_tokenizer(alphabet, block_size=LENGTHS["S"])


def _word_pieces() -> Any:
    """Return a cased WordPiece tokenizer of 30,522 tokens."""
    trained = BertWordPieceTokenizer(lowercase=False)
    trained.train_from_iterator(
        _texts(), vocab_size=VOCABULARY, min_frequency=1, show_progress=False
    )
    lacking = VOCABULARY - trained.get_vocab_size()
    trained.add_tokens([f"[unused{number}]" for number in range(lacking)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=trained._tokenizer,
        model_max_length=512,
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        unk_token="[UNK]",
        mask_token="[MASK]",
    )


def _texts() -> list[str]:
    source = CorpusSource(source=CORPUS)
    return [document.text for document in read_documents(source, on_rejected=lambda _: None)]
