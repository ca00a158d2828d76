"""Scores as pages: one self-contained heat map a document, and a gallery that leads to them.

Pages hold no script and load nothing: a token's probability is shown by its colour, and said when
it is pointed at. What they say is read from `Score`, as in every other form.
"""

import heapq
import html
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from synthenticity.durable import write_whole
from synthenticity.evaluation.page import (
    folded,
    heading,
    heat_scale,
    heat_token,
    page,
    paragraph,
    table,
)
from synthenticity.scoring.score import Score, Stretch, counted

MOST_TOKENS = 100_000
"""A page with more elements is slow in a browser; longer texts are coloured by the sentence."""
MOST_LISTED = 5_000
NOT_PROOF = (
    "A score is evidence, not proof: it holds for text like that on which the scorer was trained."
)
GALLERY = "index.html"


def page_name(number: int) -> str:
    """Return the file of the document of that number in the corpus, from 0.

    >>> page_name(7)
    '000007.html'
    """
    return f"{number:06d}.html"


def write_page(path: Path, name: str, score: Score) -> None:
    """Write the page of a document; what is there already is replaced."""
    write_whole(path, score_page(name, score))


def score_page(name: str, score: Score) -> str:
    """Return the page of a document: the score, the text as a heat map, its sentences."""
    return page(name, [*_summary(score), *_heat(score), *_sentences(score), paragraph(NOT_PROOF)])


def _summary(score: Score) -> list[str]:
    parts = []
    if score.abstained is not None:
        parts.append(paragraph(f"The scorer abstains: {score.abstained}.", kind="alarm"))
    parts.append(heading(score.in_words()))
    said = f"{counted(len(score.offsets), 'token')}, {counted(len(score.text), 'character')}"
    if score.replaced is not None and not math.isnan(score.replaced):
        said += f"; about {score.replaced:.1%} of the tokens changed by a machine"
    if score.unknown_share:
        said += f"; {score.unknown_share:.1%} of the tokens unknown to the scorer"
    parts.append(paragraph(said, kind="facts"))
    if score.verdict is not None:
        parts.append(paragraph(f"Calibrated verdict: {score.verdict} (rate of false alarms)."))
    return parts


def _heat(score: Score) -> list[str]:
    if score.probabilities is None:
        note = "This scorer has no token head: it judges the text as a whole."
        return [paragraph(note, kind="facts"), _heat_of(score.text, [])]
    if len(score.offsets) <= MOST_TOKENS:
        return [heat_scale(), _heat_of(score.text, score.iter_tokens())]
    note = f"Of more than {MOST_TOKENS:,} tokens: each sentence has the mean of its own."
    return [
        paragraph(note, kind="facts"),
        heat_scale(),
        _heat_of(score.text, score.sentences or []),
    ]


def _heat_of(text: str, stretches: Iterable[Stretch]) -> str:
    """Return a text, each stretch of it on its colour; what lies between them has none."""
    parts, end = [], 0
    for each in stretches:
        parts.append(html.escape(text[end : each.start]))
        parts.append(heat_token(text[max(each.start, end) : each.end], each.probability))
        end = max(end, each.end)
    parts.append(html.escape(text[end:]))
    return f"<div class='heat'>{''.join(parts)}</div>"


def _sentences(score: Score) -> list[str]:
    sentences = score.sentences
    if not sentences:
        return []
    order = np.argsort([-each.probability for each in sentences], kind="stable")[:MOST_LISTED]
    rows = [
        [f"{sentences[place].probability:.3f}", " ".join(sentences[place].text.split())]
        for place in order.tolist()
    ]
    caption = "Sentences, the likeliest to be a machine's first (mean of their tokens)"
    listed = table(caption, ["probability", "sentence"], rows, prose=True)
    return [folded(f"{len(sentences):,} sentences", listed)]


def gallery(title: str, rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the page that leads to those of documents, the highest score first.

    Rows are those of `score_corpus`, in their order.
    """
    count = 0

    def numbered() -> Iterator[tuple[int, Mapping[str, Any]]]:
        nonlocal count
        for count, row in enumerate(rows, 1):
            yield count - 1, row

    highest = heapq.nlargest(MOST_LISTED, numbered(), key=lambda pair: (_value(pair[1]), -pair[0]))
    lines = [_line(number, row) for number, row in highest]
    parts = [paragraph(f"{count:,} documents.", kind="facts")]
    if count > MOST_LISTED:
        parts.append(
            paragraph(
                f"Listed are the {MOST_LISTED:,} of the highest scores. The page of any other is "
                f"named by its place in the corpus: {page_name(0)} is that of the first."
            )
        )
    head = "".join(
        f"<th scope='col'>{name}</th>"
        for name in ("document", "synthenticity", "90 %", "verdict", "characters")
    )
    parts.append(
        f"<div class='wide' tabindex='0'><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
    return page(title, [*parts, paragraph(NOT_PROOF)])


def _value(row: Mapping[str, Any]) -> float:
    value = row["synthenticity"]
    return -1.0 if value is None or row["abstained"] is not None else float(value)


def _line(number: int, row: Mapping[str, Any]) -> str:
    name, value = html.escape(row["id"]), row["synthenticity"]
    said = "" if value is None else heat_token(f" {value:.3f} ", value)
    verdict = row["verdict"] or (f"abstained: {row['abstained']}" if row["abstained"] else "")
    return (
        f"<tr><th scope='row'><a href='{page_name(number)}'>{name}</a></th><td>{said}</td>"
        f"<td>{row['low']:.2f} to {row['high']:.2f}</td><td>{html.escape(verdict)}</td>"
        f"<td>{row['characters']:,}</td></tr>"
    )
