"""The texts on which fillers are compared: paragraphs of a novel, and a few awkward ones.

The paragraphs are the friendliest form of prose: one line, single spaces. What tools do with
other white space, emoji and a literal mask token is asked of the awkward texts alone.
"""

import lzma
from dataclasses import dataclass
from pathlib import Path

SHORTEST, LONGEST = 50, 200
"""Words of a paragraph."""
LONG_WORDS = 3000


@dataclass(frozen=True)
class PeerTexts:
    """The texts of the comparison."""

    paragraphs: list[str]
    awkward: dict[str, str]
    long: str


def read_peer_texts(path: Path, count: int) -> PeerTexts:
    """Cut a plain-text book, or one packed with xz, into `count` paragraphs and the awkward texts.

    The paragraphs are spread evenly over the book.
    """
    content = path.read_bytes()
    text = (lzma.decompress(content) if path.suffix == ".xz" else content).decode("utf-8")
    blocks = [" ".join(block.split()) for block in text.replace("\r\n", "\n").split("\n\n")]
    fitting = [block for block in blocks if SHORTEST <= len(block.split()) <= LONGEST]
    if len(fitting) < count:
        raise SystemExit(
            f"{path}: has {len(fitting)} paragraphs of {SHORTEST}-{LONGEST} words, needs {count}. "
            "Name a longer text with blank lines between its paragraphs."
        )
    chosen = [fitting[index * len(fitting) // count] for index in range(count)]
    words = " ".join(fitting).split()
    if len(words) < LONG_WORDS:
        raise SystemExit(f"{path}: has {len(words)} words, needs {LONG_WORDS}. Name a longer text.")
    return PeerTexts(chosen, awkward_texts(sorted(chosen, key=len)), " ".join(words[:LONG_WORDS]))


def awkward_texts(paragraphs: list[str]) -> dict[str, str]:
    """Return texts that people have: other line ends, two spaces, emoji, a mask token as a word."""
    words = [paragraph.split() for paragraph in paragraphs[:4]]
    lines = [" ".join(words[0][start : start + 8]) for start in range(0, len(words[0]), 8)]
    return {
        "CRLF": "\r\n".join(lines) + "\r\n",
        "double spaces": "  ".join(words[1]),
        "emoji": _with_every_sixth(words[2], "\N{GRINNING FACE}"),
        "[MASK]": _with_every_sixth(words[3], "[MASK]"),
    }


def _with_every_sixth(words: list[str], what: str) -> str:
    return " ".join(f"{word} {what}" if n % 6 == 5 else word for n, word in enumerate(words))
