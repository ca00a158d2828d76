"""A corpus: documents read once, their texts on disk, and what cuts and identifies them.

A document costs some dozens of bytes of memory, however long it is: to make training data of a
gigabyte takes 590 MB, of which 270 are the libraries. The corpus is known by a digest of its
documents that does not depend on their order.
"""

import logging
from array import array
from collections import Counter
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from synthenticity.errors import CorpusError
from synthenticity.seeding import digest
from synthenticity.text.reading import CorpusSource, Document, Rejected, read_documents
from synthenticity.text.store import TextStore

logger = logging.getLogger(__name__)

REJECTIONS_SHOWN = 5


class Corpus:
    """Documents by their number: texts and names on disk, groups, domains and protected spans.

    Attributes:
        texts: the text of each document.
        names: the id of each.
        groups: the groups of those that have one; `grouped` holds their numbers.
        domains: the number of each domain.
        domain_of: the domain of each document, -1 for none.

    """

    def __init__(self, documents: Iterable[Document]) -> None:
        self.texts, self.names, self.groups = TextStore(), TextStore(), TextStore()
        self.grouped, self.domain_of = array("q"), array("q")
        self.domains: dict[str, int] = {}
        self._spans = array("q")
        self._digests = bytearray()
        for document in documents:
            self._add(document)

    def __len__(self) -> int:
        return len(self.texts)

    def _add(self, document: Document) -> None:
        number = self.texts.append(document.text)
        self.names.append(document.id)
        if document.group is not None:
            self.groups.append(document.group)
            self.grouped.append(number)
        domain = document.domain
        code = -1 if domain is None else self.domains.setdefault(domain, len(self.domains))
        self.domain_of.append(code)
        for start, end in document.protected:
            self._spans.extend((number, start, end))
        self._digests += bytes.fromhex(digest(document.id, document.text))

    @property
    def hash(self) -> str:
        """A digest of the documents' names and texts, in any order of theirs."""
        halves = np.frombuffer(bytes(self._digests), dtype=">u8").reshape(-1, 2)
        return digest(halves[np.lexsort((halves[:, 1], halves[:, 0]))].tobytes())

    @property
    def hash_in_order(self) -> str:
        """A digest of the documents' names and texts in the order of reading."""
        return digest(bytes(self._digests))

    @property
    def alphabet(self) -> str:
        """Every character that occurs, once, in order."""
        return "".join(map(chr, np.flatnonzero(self.texts.character_counts).tolist()))

    def spans(self) -> NDArray[np.int64]:
        """Return the protected spans `[spans, 3]`: document, first and last + 1 character."""
        return np.array(self._spans, dtype=np.int64).reshape(-1, 3)


def load_corpus(source: CorpusSource) -> Corpus:
    """Read and store the documents of a corpus; what is left out is logged.

    Raises:
        CorpusError: see `read_documents`; or no document is left.

    """
    reasons: Counter[str] = Counter()

    def note(rejected: Rejected) -> None:
        if reasons.total() < REJECTIONS_SHOWN:
            logger.warning("%s: %s %s; left out", rejected.where, rejected.id, rejected.reason)
        reasons[rejected.reason] += 1

    corpus = Corpus(read_documents(source, on_rejected=note))
    common = ", ".join(f"{reason} x {count}" for reason, count in reasons.most_common(3))
    if reasons.total() > REJECTIONS_SHOWN:
        logger.warning("%s: %d documents are left out: %s", source.source, reasons.total(), common)
    if not len(corpus):
        raise CorpusError(
            f"{source.source}: {f'no document can be used ({common})' if common else 'is empty'}. "
            "Give text."
        )
    return corpus
