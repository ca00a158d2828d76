"""Plots as SVG, each a function of plain values: an evaluation's and any other's.

Colours are Okabe and Ito's (2008), which the colour-blind tell apart; lines differ in marker and
dash, too, so that a page printed in grey can be read. Text is drawn as paths: a page needs no font.
What is black or white elsewhere is `currentColor` here, on no background: a plot in a dark page is
as readable as in a light one.
"""

import io
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthenticity.errors import MissingExtraError

Floats = NDArray[np.floating]
ACCENT, GREY = "#d55e00", "#8a8f98"
INK = "#010203"
"""Drawn in it is what becomes `currentColor`: no other part of a plot has this colour."""
COLOURS = (ACCENT, "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK)
MARKERS, DASHES = "osD^vPX", ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1)))
BINS = 10
FEWEST = 20
"""A bin of fewer tokens is not drawn."""
MOST_POINTS = 1500
ROC_EDGES = (0.0, 0.1, 0.2, 0.3, 0.5, 1.0)


def plot_scatter(true: Floats, predicted: Floats) -> str:
    """Return predicted against true ratios, `[sequences]`; of very many, every so manieth."""
    axes = _axes()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1)
    some = np.linspace(0, len(true) - 1, min(len(true), MOST_POINTS)).astype(int)
    axes.scatter(true[some], predicted[some], s=7, alpha=0.45, color=ACCENT, edgecolors="none")
    axes.set(xlabel="true ratio", ylabel="said ratio", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    return _svg(axes)


def plot_reliability(probabilities: Floats, filled: NDArray[np.bool_]) -> str:
    """Return how often tokens were filled, by the probability that was said, `[tokens]` each."""
    axes = _axes()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1)
    place = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    bins = [index for index in range(BINS) if (place == index).sum() >= FEWEST]
    said = [probabilities[place == index].mean() for index in bins]
    happened = [filled[place == index].mean() for index in bins]
    axes.plot(said, happened, marker="o", color=ACCENT)
    shares = np.bincount(place, minlength=BINS) / max(len(place), 1)
    middles = (np.arange(BINS) + 0.5) / BINS
    axes.bar(middles, shares, width=0.9 / BINS, color=GREY, alpha=0.35, linewidth=0)
    axes.set(xlabel="said probability", ylabel="share truly filled", xlim=(0, 1), ylim=(0, 1))
    return _svg(axes)


def plot_errors(errors: Mapping[str, Sequence[Mapping[str, Any]]], dark: Sequence[str] = ()) -> str:
    """Return the mean absolute error by true ratio, a line for each of the names.

    Each has a list of buckets with `from`, `to` and `mae`; `dark` are drawn in the page's ink.
    """
    axes = _axes()
    for number, (name, buckets) in enumerate(errors.items()):
        middles = [(bucket["from"] + bucket["to"]) / 2 for bucket in buckets]
        axes.plot(
            middles, [each["mae"] for each in buckets], label=name, **_line(number, name in dark)
        )
    axes.set(xlabel="true ratio", ylabel="mean absolute error", ylim=(0, None))
    _legend(axes)
    return _svg(axes)


def plot_roc(scores: Floats, true: Floats) -> str:
    """Return how many filled sequences are detected by how many untouched ones are accused.

    A line for each range of the true ratio; the false-positive rate is on a logarithmic scale,
    from one untouched sequence on.
    """
    axes, human = _axes(), np.sort(scores[true == 0])[::-1]
    rates = np.arange(1, len(human) + 1) / max(len(human), 1)
    thresholds = np.append(human[1:], -np.inf)
    for number, (low, high) in enumerate(pairwise(ROC_EDGES)):
        filled = np.sort(scores[(true > low) & (true <= high)])
        if len(filled) >= FEWEST and len(human):
            detected = 1 - np.searchsorted(filled, thresholds, side="right") / len(filled)
            style = {**_line(number), "marker": ""}
            axes.plot(
                rates, detected, drawstyle="steps-post", label=f"{low:g} to {high:g}", **style
            )
    for rate in (0.01, 0.05):
        axes.axvline(rate, color=GREY, linewidth=0.8)
    first = rates[0] if len(rates) else 0.01
    axes.set(xscale="log", xlim=(min(first, 0.01), 1), ylim=(0, 1.02))
    axes.set(xlabel="untouched sequences above the threshold", ylabel="filled ones above it")
    _legend(axes, title="true ratio")
    return _svg(axes)


def plot_learning_curve(
    history: Sequence[tuple[int, float]], marks: Mapping[str, float], dark: Sequence[str] = ()
) -> str:
    """Return errors by iteration, and named horizontal lines; `dark` ones in the page's ink."""
    axes = _axes()
    axes.plot(*zip(*history, strict=True), label="scorer", **_line(0))
    for number, (name, error) in enumerate(marks.items(), start=1):
        style = {**_line(number, name in dark), "marker": ""}
        axes.axhline(error, label=name, **style)
    axes.set(xlabel="iterations", ylabel="mean absolute error", ylim=(0, None))
    _legend(axes)
    return _svg(axes)


def plot_histogram(values: Floats, *, xlabel: str, ylabel: str) -> str:
    """Return how often values between 0 and 1 occur."""
    axes = _axes()
    axes.hist(values, bins=40, range=(0, 1), color=ACCENT)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    return _svg(axes)


def plot_table(values: Floats, rows: Sequence[str], columns: Sequence[str]) -> str:
    """Return numbers `[rows, columns]` as shades with the numbers on them; NaN stays empty."""
    axes = _axes(width=2.8 + 1.1 * len(columns), height=0.9 + 0.34 * len(rows))
    top = float(np.nanmax(values)) if np.isfinite(values).any() else 1.0
    axes.pcolormesh(values, cmap="cividis_r", vmin=0.0, vmax=top, edgecolors="white")
    axes.invert_yaxis()
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            ink = "white" if value > 0.55 * top else "black"
            middle = {"ha": "center", "va": "center", "fontsize": 9}
            axes.text(column + 0.5, row + 0.5, f"{value:.3f}", color=ink, **middle)
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=20, ha="right")
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return _svg(axes)


def check_plots() -> None:
    """Raise a `MissingExtraError` if nothing can be drawn: before anything is computed."""
    _axes()


def _axes(*, width: float = 4.6, height: float = 3.5) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("The report's plots (matplotlib)", "eval") from None
    axes = Figure(figsize=(width, height), layout="constrained").subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[:].set_color(INK)
    axes.tick_params(which="both", colors=INK)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_color(INK)
    axes.grid(color=GREY, alpha=0.3)
    return axes


def _line(number: int, dark: bool = False) -> dict[str, Any]:
    """Return the looks of a line: none has those of another of six, or of the dark one."""
    place = len(COLOURS) - 1 if dark else number % (len(COLOURS) - 1)
    return {
        "color": COLOURS[place],
        "marker": MARKERS[place],
        "linestyle": DASHES[place],
        "markersize": 4,
        "linewidth": 1.6,
    }


def _legend(axes: Any, title: str | None = None) -> None:
    if axes.get_legend_handles_labels()[0]:
        legend = axes.figure.legend(
            frameon=False,
            labelcolor=INK,
            fontsize=8,
            title=title,
            title_fontsize=8,
            loc="outside upper center",
            ncols=2,
        )
        legend.get_title().set_color(INK)


def _svg(axes: Any) -> str:
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": "synthenticity", "svg.fonttype": "path"}):
        axes.figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :].replace(INK, "currentColor")
