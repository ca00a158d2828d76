"""The files of a corpus: which there are, what each holds, and its bytes as lines of text.

Everything is read in blocks, so that a file's size costs no memory, and decoded strictly: a byte
that is not UTF-8 is an error with its offset, never another character. Endings decide the format
(`.jsonl`) and the compression (`.jsonl.zst`). A gigabyte of lines: two seconds.
"""

import codecs
import glob
import json
import lzma
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from synthenticity.errors import CorpusError

STANDARD_INPUT = "-"
BLOCK_BYTES = 2**20
BYTE_ORDER_MARK = "\ufeff"
TEXT_SUFFIXES = (".txt", ".text", ".md")
FORMATS = {
    **dict.fromkeys(TEXT_SUFFIXES, "text"),
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz"}
SAVED_DATASET = ("state.json", "dataset_info.json")
"""What `datasets.save_to_disk` writes beside its Arrow files."""


@dataclass(frozen=True)
class CorpusFile:
    """A file, the name that its documents are known by, its format and compression."""

    path: Path
    name: str
    format: str
    compression: str | None = None

    def __str__(self) -> str:
        return "standard input" if self.name == STANDARD_INPUT else str(self.path)


def find_files(source: str) -> list[CorpusFile]:
    """Return the files that a path names: itself, those in a folder, or those of a glob, in order.

    Hidden files and those of unknown formats are passed over, except a file named itself, which
    is text if its ending says nothing else.

    Raises:
        CorpusError: nothing there, or nothing that can be read.

    """
    path = Path(source)
    if path.is_file():
        return [_known(path, path.name) or CorpusFile(path, path.name, "text")]
    if path.is_dir():
        base, pattern = path, "**/*"
    elif glob.has_magic(source):
        base, pattern = _fixed_part(path)
    else:
        raise CorpusError(
            f"corpus: {source} does not exist. Give a text, CSV, JSON, Parquet or Arrow file, a "
            "folder or glob of them, hf:NAME, - or shakespeare."
        )
    found = sorted(p for p in base.glob(pattern) if not _is_hidden(p.relative_to(base)))
    files = [_known(p, p.relative_to(base).as_posix()) for p in found if p.is_file()]
    kept = [file for file in files if file is not None and not _beside_a_dataset(file.path)]
    if not kept:
        endings = f"{', '.join(FORMATS)} (or one with {', '.join(COMPRESSIONS)} behind)"
        raise CorpusError(f"{source}: holds no {endings} file.")
    return kept


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _fixed_part(path: Path) -> tuple[Path, str]:
    """Return the folder before the first part of a glob that holds a wildcard, and the rest."""
    first = next(index for index, part in enumerate(path.parts) if glob.has_magic(part))
    return Path(*path.parts[:first]), str(Path(*path.parts[first:]))


def _known(path: Path, name: str) -> CorpusFile | None:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    suffix = suffixes[-2 if compression else -1] if len(suffixes) > bool(compression) else ""
    return CorpusFile(path, name, FORMATS[suffix], compression) if suffix in FORMATS else None


def _beside_a_dataset(path: Path) -> bool:
    """Whether a file lies in a folder of `save_to_disk` and is none of its data files."""
    if path.name == "dataset_dict.json":
        return True
    state, information = (path.parent / name for name in SAVED_DATASET)
    if not (state.is_file() and information.is_file()):
        return False
    try:
        data = json.loads(state.read_text(encoding="utf-8"))["_data_files"]
        return path.name not in {item["filename"] for item in data}
    except (ValueError, KeyError, TypeError):
        raise CorpusError(
            f"{state}: is not what datasets.save_to_disk writes. Save the data set again."
        ) from None


def open_stream(file: CorpusFile) -> Any:
    """Open a file for reading bytes one after the other, decompressed."""
    import pyarrow as pa

    if file.name == STANDARD_INPUT:
        return sys.stdin.buffer
    if file.compression == "xz":
        return lzma.open(file.path)
    return pa.input_stream(str(file.path), compression=file.compression)


def read_blocks(file: CorpusFile) -> Iterator[bytes]:
    """Yield the decompressed bytes of a file in blocks.

    Raises:
        CorpusError: it cannot be read, or is cut or damaged as a compressed file.

    """
    try:
        stream = open_stream(file)
        if file.name == STANDARD_INPUT:
            yield from iter(lambda: stream.read(BLOCK_BYTES), b"")
            return
        with closing(stream):
            yield from iter(lambda: bytes(stream.read(BLOCK_BYTES)), b"")
    except (OSError, EOFError, lzma.LZMAError) as error:
        if file.compression and getattr(error, "errno", None) is None:
            raise CorpusError(
                f"{file}: cannot be decompressed as {file.compression} ({one_line(error)}). "
                "The file is cut or damaged; copy it again."
            ) from None
        if isinstance(error, FileNotFoundError):
            raise CorpusError(f"{file}: is not there. Give the name of a file.") from None
        reason = getattr(error, "strerror", None) or one_line(error)
        raise CorpusError(f"{file}: cannot be read: {reason}.") from None


def one_line(error: BaseException) -> str:
    """Return the first line of what a library says, without its full stop."""
    words = str(error).strip().splitlines() or [type(error).__name__]
    return words[0].rstrip(".")


def decoded(blocks: Iterable[bytes], where: object) -> Iterator[str]:
    """Yield blocks of bytes as text, keeping every character; a byte order mark is dropped.

    Raises:
        CorpusError: bytes that are not UTF-8; names the file and the offset of the first.

    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset, at_start = 0, True
    for block in chain(blocks, [b""]):
        held = len(decoder.getstate()[0])
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            bad = error.object[error.start]
            raise CorpusError(
                f"{where}: byte 0x{bad:02x} at offset {offset - held + error.start} is not UTF-8. "
                "Convert the file, for example with iconv."
            ) from None
        offset += len(block)
        if at_start and text:
            text, at_start = text.removeprefix(BYTE_ORDER_MARK), False
        if text:
            yield text


def lines_of(texts: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a text that comes in pieces, each with its end (only `\\n` ends one)."""
    parts: list[str] = []
    for text in texts:
        *whole, rest = text.split("\n")
        for line in whole:
            yield "".join((*parts, line, "\n"))
            parts.clear()
        parts.append(rest)
    if last := "".join(parts):
        yield last


def read_text(path: Path) -> str:
    """Read a UTF-8 file, keeping every character (no newline translation).

    Raises:
        CorpusError: bytes that are not UTF-8; names the file and the offset of the first.

    """
    file = CorpusFile(path, path.name, "text")
    return "".join(decoded(read_blocks(file), path))
