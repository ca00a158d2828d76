"""What a self-contained page is made of: HTML of tables, figures and coloured text, one style.

Nothing is loaded from elsewhere, pictures have a caption that says what they show, and the page
follows the reader's choice of light or dark.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HEAT = "213 94 0"
"""Vermilion of the plots, as red, green and blue."""


@dataclass(frozen=True)
class HeatSample:
    """A text to show: its tokens, their probabilities and true labels, and the two ratios."""

    title: str
    tokens: Sequence[str]
    probabilities: NDArray[np.floating] | None
    labels: NDArray[np.integer]
    true: float
    predicted: float


def page(title: str, parts: Sequence[str]) -> str:
    """Return a whole page; parts are HTML."""
    name = html.escape(title)
    return "\n".join(
        [
            "<!doctype html><html lang='en'><meta charset='utf-8'>",
            "<meta name='viewport' content='width=device-width, initial-scale=1'>",
            f"<title>{name}</title><style>{_STYLE}</style>",
            f"<main><h1>{name}</h1>",
            *parts,
            "</main></html>",
        ]
    )


def paragraph(text: str, *, kind: str = "") -> str:
    """Return a paragraph of plain text."""
    return f"<p{_class(kind)}>{html.escape(text)}</p>"


def heading(text: str, level: int = 2) -> str:
    """Return a heading."""
    return f"<h{level}>{html.escape(text)}</h{level}>"


def figure(svg: str, caption: str) -> str:
    """Return a picture with its caption, which is read out in its place, too."""
    words = html.escape(caption, quote=True)
    picture = svg.replace("<svg", f'<svg role="img" aria-label="{words}"', 1)
    return f"<figure>{picture}<figcaption>{words}</figcaption></figure>"


def plots(figures: Sequence[str]) -> str:
    """Return figures side by side, as many as there is room for."""
    return f"<div class='plots'>{''.join(figures)}</div>"


def table(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    marked: int = -1,
    prose: bool = False,
) -> str:
    """Return a table of plain text; the first cell of a row is its heading.

    Args:
        caption: what it shows.
        columns: their titles.
        rows: their cells.
        marked: number of the row that is set in bold.
        prose: whether cells hold words rather than numbers.

    """
    head = "".join(f"<th scope='col'>{html.escape(name)}</th>" for name in columns)
    lines = []
    for number, (first, *cells) in enumerate(rows):
        others = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        mark = " class='marked'" if number == marked else ""
        lines.append(f"<tr{mark}><th scope='row'>{html.escape(first)}</th>{others}</tr>")
    words, kind = html.escape(caption, quote=True), _class("prose" if prose else "")
    return (
        f"<p class='facts'>{words}</p><div class='wide' tabindex='0'>"
        f'<table{kind} aria-label="{words}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def folded(summary: str, inside: str) -> str:
    """Return HTML that is shown when asked for."""
    return f"<details><summary>{html.escape(summary)}</summary>{inside}</details>"


def code(lines: Sequence[str]) -> str:
    """Return lines as they are."""
    return f"<pre>{html.escape(chr(10).join(lines))}</pre>"


def heat_sample(sample: HeatSample) -> str:
    """Return a text with each token on the colour of its probability, its truth underlined."""
    spans = []
    for index, token in enumerate(sample.tokens):
        label = int(sample.labels[index])
        kind = {1: "restored", 2: "replaced"}.get(label, "")
        probability = None if sample.probabilities is None else float(sample.probabilities[index])
        spans.append(heat_token(token, probability, kind=kind))
    return (
        f"<section><h3>{html.escape(sample.title)}</h3><p class='facts'>true "
        f"{sample.true:.2f}, said {sample.predicted:.2f}</p>"
        f"<div class='heat'>{''.join(spans)}</div></section>"
    )


def heat_token(token: str, probability: float | None, *, kind: str = "") -> str:
    """Return a piece of text on the colour of its probability, which is said when pointed at."""
    style = title = ""
    if probability is not None:
        style = f" style='background:{_shade(probability)}'"
        title = f" title='{probability:.4f}'"
    return f"<span{_class(kind)}{style}{title}>{html.escape(token)}</span>"


def heat_scale() -> str:
    """Return what the colours of `heat_sample` mean."""
    steps = "".join(
        f"<span style='background:{_shade(step / 10)}'>{step / 10:.1f}</span>"
        for step in range(0, 11, 2)
    )
    return f"<p class='scale'>human {steps} machine</p>"


def _class(kind: str) -> str:
    return f" class='{kind}'" if kind else ""


def _shade(probability: float) -> str:
    return f"rgb({HEAT}/{probability**1.5 * 0.8:.2f})"


_STYLE = """
:root{color-scheme:light dark;--ink:#1c1e21;--paper:#fdfcfa;--line:#d9d6d0;--alarm:#a3200d;
--shade:rgb(0 0 0/.22)}
@media (prefers-color-scheme:dark){
:root{--ink:#e6e3de;--paper:#17181b;--line:#3a3c41;--alarm:#ff9d88;--shade:rgb(255 255 255/.3)}}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,sans-serif}
main{max-width:70rem;margin:0 auto;padding:2rem 1.2rem 4rem}
h1{margin:.2rem 0 1rem;font-size:1.9rem}h2{margin-top:2.4rem}h3{margin:1.6rem 0 0;font-size:1rem}
h3+.facts{margin-top:.1rem}
table{border-collapse:collapse;margin:.2rem 0 1.2rem;font-variant-numeric:tabular-nums;
font-size:.9rem}
.prose td,.prose th{text-align:left;white-space:normal}.prose td{overflow-wrap:anywhere}
th,td{padding:.3rem .6rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
tbody th,thead th:first-child{text-align:left}
tbody th{font-weight:500;white-space:normal;min-width:11rem}
thead th{font-size:.85rem;white-space:normal;vertical-align:bottom}
.marked,.marked th{font-weight:700}
.wide{overflow-x:auto;background:
linear-gradient(to left,var(--paper) 40%,transparent) right/3rem 100% no-repeat local,
linear-gradient(to left,var(--shade),transparent) right/1.2rem 100% no-repeat scroll}
.wide tr>:first-child{position:sticky;left:0;background:var(--paper)}
@media (max-width:40rem){main{padding:1rem .8rem 3rem}table,thead th{font-size:.8rem}
th,td{padding:.3rem .45rem}
tbody th{min-width:6.5rem}.prose tbody th{min-width:5rem}.prose td{min-width:6rem}}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:1.4rem}
figure{margin:0;border:1px solid var(--line);border-radius:8px;padding:.6rem}
figure svg{width:100%;height:auto}figcaption{opacity:.8;font-size:.85rem;text-align:center}
.facts{margin:1.2rem 0 .4rem;opacity:.8;font-size:.9rem}
.heat{white-space:pre-wrap;overflow-wrap:anywhere;font:15px/1.8 ui-monospace,monospace;
border-left:3px solid var(--line);padding-left:1rem}
.replaced{border-bottom:2px solid currentColor}.restored{border-bottom:2px dotted currentColor}
.alarm{color:var(--alarm);border-left:4px solid currentColor;padding-left:.8rem;font-weight:600}
a{color:inherit}.scale span{padding:.15rem .5rem}
pre{white-space:pre-wrap;overflow-wrap:anywhere;padding:1rem;border:1px solid var(--line);
border-radius:8px}details{margin:1rem 0}summary{cursor:pointer}
"""
