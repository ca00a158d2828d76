"""What results look like in a terminal: coloured tokens, histograms, tables. Nothing is printed.

Colours are shades of one hue, from none (human) to deep (machine), readable on dark and light.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from synthenticity.scoring.calibration import Calibration
from synthenticity.scoring.score import MACHINE, Score, counted
from synthenticity.synthesis.token_labels import LABEL_NAMES

LABEL_STYLES = {
    0: "",
    1: "black on #b7d7a8",
    2: "underline black on #f6a5a5",
    3: "black on #b9c7f5",
}
_SHOWN = (
    {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"}
    | {0x7F: 0x2421}
    | dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
)
"""Control characters, and what stands for each: its picture, or the replacement character."""
_BLOCKS = " ▁▂▃▄▅▆▇█"
_SHADES = ("", "#ffe9d6", "#ffd0a8", "#ffb27a", "#f98e52", "#e8692f", "#c94a14")


def visible(text: str) -> str:
    r"""Return a text, as long, whose control characters a terminal shows and does not obey.

    >>> visible("red\x1b[31m, a bell\x07\r\nand a line")
    'red␛[31m, a bell␇ \nand a line'
    """
    return text.replace("\r\n", " \n").translate(_SHOWN)


def labelled_text(pieces: Sequence[str], labels: Sequence[int]) -> Text:
    """Return the pieces of a text, each coloured by its token label."""
    text = Text()
    for piece, label in zip(pieces, labels, strict=True):
        text.append(visible(piece), LABEL_STYLES.get(int(label), "dim"))
    return text


def label_legend(names: Mapping[int, str] = LABEL_NAMES) -> Text:
    """Return the meaning of the label colours."""
    legend = Text()
    for label, name in names.items():
        legend.append(f" {name} ", LABEL_STYLES[label])
        legend.append(" ")
    return legend


def shade(probability: float) -> str:
    """Return the background colour of a probability, "" for the lowest.

    >>> shade(0.0), shade(1.0)
    ('', '#c94a14')
    """
    return _SHADES[min(int(probability * len(_SHADES)), len(_SHADES) - 1)]


def heat_text(
    text: str, offsets: NDArray[np.int64], probabilities: NDArray[np.float64] | None
) -> Text:
    """Return a text with each token on the colour of its probability, underlined from .5 on: some
    terminals have few colours.
    """
    rich_text = Text(visible(text))
    if probabilities is not None:
        for (start, end), probability in zip(offsets.tolist(), probabilities, strict=True):
            colour = shade(float(probability))
            if colour:
                line = "underline " if probability >= MACHINE else ""
                rich_text.stylize(f"{line}black on {colour}", start, end)
    return rich_text


def heat_legend() -> Text:
    """Return the meaning of the shades."""
    legend = Text("human ")
    for colour in _SHADES[1:]:
        legend.append("  ", f"on {colour}")
    legend.append(" machine, ")
    legend.append("likelier than not", "underline")
    return legend


def score_lines(score: Score, *, heat: bool) -> list[Text]:
    """Return what is shown of a score; with `heat`, the text in the colours of its tokens."""
    lines = []
    if heat:
        lines += [heat_text(score.text, score.offsets, score.probabilities), Text()]
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
        lines.append(heat_legend())
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


EVALUATION_COLUMNS = {
    "pearson": "r",
    "human_mean": "human",
    "document_auroc": "doc. AUROC",
    "human_alarms_at_1": "alarms, 1 %",
    "token_auroc_filled_within": "token AUROC",
}
EVALUATION_WIDTH = 128


def evaluation_table(row: Mapping[str, Any]) -> Table:
    """Return what an evaluation found on one data set, a line for each system.

    MAE comes with its 95 % interval, and then with that of by how much the scorer's error differs,
    below 0 where it is the smaller. `r` is Pearson's, `human` the mean score of untouched text;
    token AUROC is within sequences.
    """
    title = f"{row['name']}: {row['sequences']:,} sequences of {row['documents']:,} documents"
    table = Table(title=Text(title), title_justify="left")
    for name in ("", "MAE", "95 %", "scorer's less", *EVALUATION_COLUMNS.values()):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for name, system in row["systems"].items():
        figures, intervals = system["figures"], system["intervals"]
        difference = intervals.get("mae_difference")
        asked = system["sequences"]
        table.add_row(
            Text(name if asked == row["sequences"] else f"{name}, first {asked:,}"),
            f"{figures['mae']:.4f}",
            "{:.3f}-{:.3f}".format(*intervals["mae"]),
            "" if difference is None else "{:+.3f} {:+.3f}".format(*difference),
            *(f"{figures[key]:.3f}" if key in figures else "" for key in EVALUATION_COLUMNS),
        )
    return table


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

    >>> format_figure(0.123456), format_figure(12345), format_figure(True)
    ('0.1235', '12,345', 'yes')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)
