"""What results look like in a terminal: coloured tokens, histograms, tables. Nothing is printed.

Tables are made for a width: their figures are never cut.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from synthenticity.colours import (
    LABEL_MARKS,
    LIKELY_MARKS,
    TRUE,
    heat_steps,
    heat_style,
    label_style,
)
from synthenticity.scoring.calibration import Calibration
from synthenticity.scoring.score import MACHINE, Score, counted

_SHOWN = (
    {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"}
    | {0x7F: 0x2421}
    | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
)
"""Control characters, and what stands for each: its picture, or the replacement character."""
_BREAK = "⏎"
_BORDER = 3
"""Spaces and line beside the text of a table's cell."""
_BLOCKS = " ▁▂▃▄▅▆▇█"


def visible(text: str) -> str:
    r"""Return a text, as long, whose control characters a terminal shows and does not obey.

    >>> visible("red\x1b[31m, a bell\x07\r\nand a line")
    'red␛[31m, a bell␇ \nand a line'
    """
    return text.replace("\r\n", " \n").translate(_SHOWN)


def labelled_text(pieces: Sequence[str], labels: Sequence[int], colours: str | None) -> Text:
    """Return the pieces of a text, coloured by their labels; without colours, in marks.

    A line break that is labelled is shown, too.

    >>> labelled_text(["a ", "b", "c", "d"], [0, 2, 2, 1], None).plain
    'a [[bc]]((d))'
    """
    text = Text()
    for label, run in groupby(zip(labels, pieces, strict=True), key=lambda pair: int(pair[0])):
        shown = visible("".join(piece for _, piece in run))
        if label > 0:
            shown = shown.replace("\n", f"{_BREAK}\n")
        if colours is None:
            whole = shown.removesuffix("\n")
            shown = whole.join(LABEL_MARKS.get(label, ("", ""))) + shown[len(whole) :]
        text.append(shown, label_style(label, colours))
    return text


def label_legend(names: Mapping[int, str], colours: str | None) -> Text:
    """Return the meaning of the label colours, or of the marks that stand in.

    >>> label_legend({0: "original", 2: "replaced"}, None).plain
    'original (unmarked)  [[replaced]]'
    """
    if colours is None:
        marked = [name.join(LABEL_MARKS[label]) for label, name in names.items() if label]
        return Text("  ".join([f"{names[0]} (unmarked)", *marked]))
    legend = Text()
    for label, name in names.items():
        legend.append(f" {name} ", label_style(label, colours))
        legend.append(" ")
    return legend


def heat_text(
    text: str,
    offsets: NDArray[np.int64],
    probabilities: NDArray[np.float64] | None,
    colours: str | None,
) -> Text:
    """Return a text with each token in the colour of its probability, underlined from .5 on.

    Without colours, marks stand around what would be underlined.
    """
    rich_text = Text(visible(text))
    if probabilities is None:
        return rich_text
    if colours is None:
        return _likely_marked(rich_text, offsets, probabilities)
    for (start, end), probability in zip(offsets.tolist(), probabilities, strict=True):
        style = heat_style(float(probability), colours)
        if style:
            rich_text.stylize(style, start, end)
    return rich_text


def _likely_marked(
    text: Text, offsets: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> Text:
    """Return a text with marks around each stretch that is likelier a machine's than not."""
    turns = np.flatnonzero(np.diff(probabilities >= MACHINE, prepend=False, append=False))
    starts, ends = offsets[turns[::2], 0].tolist(), offsets[turns[1::2] - 1, 1].tolist()
    places = [place for pair in zip(starts, ends, strict=True) for place in pair]
    # Tokens of one character have one place; what was divided off is not divided off again.
    pieces = text.divide(np.maximum.accumulate(places).tolist() if places else [])
    return Text().join(
        [Text(piece.plain.join(LIKELY_MARKS)) if n % 2 else piece for n, piece in enumerate(pieces)]
    )


def heat_legend(colours: str | None) -> Text:
    """Return the meaning of the colours, each with the probability that it begins at.

    >>> heat_legend("standard").plain
    'human  .33  .50  machine; underlined: likelier than not'
    """
    if colours is None:
        return Text("likelier machine-written than not".join(LIKELY_MARKS))
    legend = Text("human ")
    for least, style in heat_steps(colours):
        legend.append(f" {least:.2f} ".replace("0.", "."), style)
    legend.append(" machine; ")
    legend.append("underlined", "underline")
    return legend.append(": likelier than not")


def score_lines(score: Score, *, heat: bool, colours: str | None = TRUE) -> list[Text]:
    """Return what is shown of a score; with `heat`, the text in the colours of its tokens."""
    lines = []
    if heat:
        lines += [heat_text(score.text, score.offsets, score.probabilities, colours), Text()]
    if score.abstained is not None:
        lines.append(Text(f"abstained: {score.abstained}", "bold"))
    said = Text(score.in_words())
    if score.abstained is None and not math.isnan(score.synthenticity):
        said.append(
            f": about {score.synthenticity:.0%} of {counted(len(score.offsets), 'token')} "
            f"look{'s' * (len(score.offsets) == 1)} machine-written"
        )
    lines.append(said)
    for rate, rings in score.alarms.items():
        side = "flagged: above" if rings else "not flagged: not above"
        share = f"{100 * float(rate):.3g} %"
        lines.append(Text(f"{side} the threshold that {share} of human texts exceed (calibrated)"))
    if heat and score.probabilities is not None:
        lines.append(heat_legend(colours))
    if score.abstained is None and score.unknown_share > 0:
        lines.append(Text(f"{score.unknown_share:.1%} of the tokens are unknown to the scorer"))
    return lines


def histogram_line(counts: Sequence[int]) -> str:
    """Return counts as a line of block characters.

    >>> histogram_line([0, 1, 2])
    ' ▄█'
    """
    top = max([*counts, 1])
    return "".join(_BLOCKS[round(count / top * (len(_BLOCKS) - 1))] for count in counts)


def figures_table(title: str, figures: Mapping[str, Any]) -> Table:
    """Return a two-column table of names and figures; nothing in them is read as markup."""
    table = Table(title=Text(title), show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, value in figures.items():
        table.add_row(Text(name.replace("_", " ")), Text(format_figure(value)))
    return table


def stacked_tables(
    title: str, names: Sequence[str], columns: Mapping[str, Sequence[str]], width: int, note: str
) -> list[Table]:
    """Return named rows of figures in as many tables, one below the other, as the width asks for.

    Names and titles of columns wrap, figures do not. The note stands below the last.
    """
    longest = max(len(word) for name in names for word in name.split())
    groups: list[list[str]] = []
    room = 0
    for column, figures in columns.items():
        needed = _widest([*column.split(), *figures]) + _BORDER
        if not groups or needed > room:
            groups.append([])
            room = width - 1 - (longest + _BORDER)
        groups[-1].append(column)
        room -= needed
    tables = [_named_figures(names, {name: columns[name] for name in group}) for group in groups]
    for number, table in enumerate(tables):
        table.title = _wrapped(title + ", continued" * (number > 0))
    tables[-1].caption = _wrapped(note)
    return tables


def _wrapped(text: str) -> Text:
    """Return a text that wraps on consoles, too, that leave that to the terminal."""
    return Text(text, no_wrap=False, overflow="fold")


def _named_figures(names: Sequence[str], columns: Mapping[str, Sequence[str]]) -> Table:
    """Return one of them."""
    table = Table(title_justify="left", caption_justify="left", caption_style="")
    table.add_column()
    for column, figures in columns.items():
        wrapped = textwrap.fill(column, _widest([*column.split(), *figures]))
        table.add_column(Text(wrapped), justify="right", no_wrap=True, vertical="bottom")
    for name, *cells in zip(names, *columns.values(), strict=True):
        table.add_row(Text(name), *map(Text, cells))
    return table


def _widest(texts: Sequence[str]) -> int:
    return max(map(len, texts))


EVALUATION_COLUMNS = {
    "pearson": "r",
    "human_mean": "human",
    "document_auroc": "doc. AUROC",
    "human_alarms_at_1": "alarms, 1 %",
    "token_auroc_filled_within": "token AUROC",
}
EVALUATION_NOTE = (
    "MAE: mean absolute error over the partly filled sequences, with its 95 % interval over "
    "documents. scorer's less: such an interval of the scorer's error less this one's, below 0 "
    "where the scorer errs less. r: Pearson's. human: what is said of untouched text (0 is right). "
    "doc. AUROC: filled against untouched sequences. alarms, 1 %: untouched sequences above the "
    "threshold that 1 % of the val split's exceed. token AUROC: filled against other tokens, "
    "within sequences."
)


def evaluation_tables(row: Mapping[str, Any], width: int, *, explained: bool) -> list[Table]:
    """Return what an evaluation found on one data set, a line for each system, for such a width;
    maybe with what the columns are.
    """
    systems = row["systems"].values()
    columns = {
        "MAE": [f"{each['figures']['mae']:.4f}" for each in systems],
        "95 %": ["{:.3f}-{:.3f}".format(*each["intervals"]["mae"]) for each in systems],
        "scorer's less": [
            "{:+.3f} {:+.3f}".format(*each["intervals"]["mae_difference"])
            if "mae_difference" in each["intervals"]
            else ""
            for each in systems
        ],
    }
    for key, column in EVALUATION_COLUMNS.items():
        figures = [each["figures"] for each in systems]
        columns[column] = [f"{each[key]:.3f}" if key in each else "" for each in figures]
    few = sorted({each["sequences"] for each in systems} - {row["sequences"]})
    marks = {row["sequences"]: ""} | {count: "*" * (n + 1) for n, count in enumerate(few)}
    names = [name + marks[each["sequences"]] for name, each in row["systems"].items()]
    notes = [f"{marks[count]} over the first {count:,} sequences." for count in few]
    notes += [EVALUATION_NOTE] * explained
    title = f"{row['name']}: {row['sequences']:,} sequences of {row['documents']:,} documents"
    return stacked_tables(title, names, columns, width, " ".join(notes))


def calibration_lines(made: Calibration, run: Path, *, replaces: bool) -> list[str]:
    """Say what a calibration found, in sentences, and whether it replaces an earlier one."""
    lines = []
    filled, human = made.about.get("filled"), made.about["human"]
    if filled is not None:
        lines.append(
            f"{filled['sequences']} filled sequences: map {filled['map']}; error of the half that "
            f"it was not fitted on {filled['mae_without']:.4f} without it, "
            f"{filled['mae_with']:.4f} with it"
        )
    abstained = f" ({human['abstained']} abstained of)" if human["abstained"] else ""
    lines.append(f"{human['documents']} human texts{abstained}: mean score {human['mean']:.3f}")
    for rate, threshold in made.thresholds.items():
        share, most = float(rate), made.about["at_most"][rate]
        lines.append(
            f"threshold {threshold:.4f}: {share:.3g} of such texts exceed it, at most {most:.3g} "
            "(95 % sure)"
        )
    instead = ", in place of an earlier calibration" * replaces
    return [*lines, f"written into {run}{instead}; score reports it"]


def ringing_alarms(row: Mapping[str, Any]) -> Text:
    """Return the sentences of the alarms that ring on a data set, a line each; maybe none."""
    lines = Text()
    for alarm in row["alarms"]:
        if alarm["rings"]:
            lines.append(f"ALARM: {alarm['name']}. {alarm['sentence']}\n", "bold red")
    return lines


def format_figure(value: Any) -> str:
    """Return a figure as people read it.

    >>> format_figure(0.123456), format_figure(12345), format_figure(True), format_figure(None)
    ('0.1235', '12,345', 'yes', '-')
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)
