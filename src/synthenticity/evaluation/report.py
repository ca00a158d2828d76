"""`report.html`: one self-contained page with the figures, the plots and the coloured text."""

import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthenticity.errors import MissingExtraError

ACCENT, GREY = "#c94a14", "#8a8f98"
RELIABILITY_BINS = 10


@dataclass(frozen=True)
class HeatSample:
    """A text to show: its tokens, their probabilities and true labels, and the two ratios."""

    title: str
    tokens: Sequence[str]
    probabilities: NDArray[np.floating] | None
    labels: NDArray[np.integer]
    true: float
    predicted: float


@dataclass(frozen=True)
class ReportData:
    """Everything the page shows."""

    results: dict[str, Any]
    true: NDArray[np.floating]
    predicted: dict[str, NDArray[np.floating]]
    """Predicted ratios by name; the first is the scorer."""
    training_targets: NDArray[np.floating]
    token_probabilities: NDArray[np.floating] | None
    token_labels: NDArray[np.integer]
    samples: Sequence[HeatSample]
    commands: Sequence[str]


def write_report(path: Path, data: ReportData) -> None:
    """Write the page.

    Raises:
        MissingExtraError: without matplotlib (extra `eval`).

    """
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>Synthenticity report</title><style>{_STYLE}</style>",
        "<main><h1>Synthenticity report</h1>",
        f"<p>{_introduction(data)}</p>",
        _figures_table(data.results),
        "<div class='plots'>",
        _figure(_plot_scatter(data), "Predicted against true ratio, held-out sequences"),
        _figure(_plot_reliability(data), "Calibration of the token probabilities"),
        _figure(_plot_errors(data), "Mean absolute error by true ratio"),
        _figure(_plot_targets(data), "Distribution of the training targets"),
        "</div><h2>Which words</h2>",
        "<p>Background: probability that a character is machine-written. Underlined: it truly was "
        "written by the filling model (solid: it differs from the original; dotted: it happens "
        "to equal it). Hover for the probability.</p>",
        _scale(),
        *(_heat_sample(sample) for sample in data.samples),
        "<h2>How this was made</h2><pre>",
        html.escape("\n".join(data.commands)),
        "</pre></main></html>",
    ]
    path.write_text("\n".join(parts), encoding="utf-8")


def _introduction(data: ReportData) -> str:
    results = data.results
    return (
        f"{len(data.true)} sequences of {results['window_characters']} characters from "
        f"{html.escape(', '.join(results['test_documents']))}, which neither the filling model "
        "nor the scorer has seen. A share between 0.1 and 0.7 of each was masked and rewritten. "
        f"The filling model reaches {results['mlm']['loss']:.2f} nats a character "
        f"({results['mlm']['accuracy']:.0%} top-1) on held-out plays."
    )


def _figures_table(results: dict[str, Any]) -> str:
    rows = [
        ("scorer", results["scorer"]),
        ("the plan's recipe: [CLS] head, frozen, lr 1e-4", results["plan_recipe"]),
        ("predict the mean", results["baselines"]["mean"]),
        ("character n-gram TF-IDF + ridge", results["baselines"]["ngram_ridge"]),
    ]
    cells = "".join(
        f"<tr><th scope='row'>{name}</th>"
        + "".join(
            f"<td>{figures[key]:.3f}</td>" if key in figures else "<td></td>"
            for key in ("mae", "pearson", "r2", "token_auroc", "human_mean")
        )
        + "</tr>"
        for name, figures in rows
    )
    return (
        "<div class='wide'><table><thead><tr><th></th><th>MAE</th><th>Pearson r</th><th>R²</th>"
        "<th>token AUROC</th><th>mean score of untouched text</th></tr></thead>"
        f"<tbody>{cells}</tbody></table></div>"
    )


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>"


def _axes() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("The report's plots (matplotlib)", "eval") from None
    axes = Figure(figsize=(4.6, 3.5), layout="constrained").subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return axes


def _svg(axes: Any) -> str:
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": "synthenticity", "svg.fonttype": "path"}):
        axes.figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _plot_scatter(data: ReportData) -> str:
    axes = _axes()
    predicted = next(iter(data.predicted.values()))
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1)
    axes.scatter(data.true, predicted, s=7, alpha=0.5, color=ACCENT, edgecolors="none")
    axes.set(xlabel="true", ylabel="predicted", xlim=(0, 1), ylim=(0, 1))
    return _svg(axes)


def _plot_reliability(data: ReportData) -> str:
    axes = _axes()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1)
    if data.token_probabilities is not None:
        counted = data.token_labels >= 0
        probability = data.token_probabilities[counted]
        filled = data.token_labels[counted] > 0
        place = np.minimum((probability * RELIABILITY_BINS).astype(int), RELIABILITY_BINS - 1)
        bins = [index for index in range(RELIABILITY_BINS) if (place == index).sum() >= 20]
        said = [probability[place == index].mean() for index in bins]
        happened = [filled[place == index].mean() for index in bins]
        axes.plot(said, happened, marker="o", color=ACCENT)
    axes.set(xlabel="predicted probability", ylabel="share truly filled", xlim=(0, 1), ylim=(0, 1))
    return _svg(axes)


def _plot_errors(data: ReportData) -> str:
    axes = _axes()
    edges = np.arange(0.1, 0.71, 0.1)
    place = np.digitize(data.true, edges[1:-1])
    colours = [ACCENT, "#3d6fb4", GREY]
    for (name, predicted), colour in zip(data.predicted.items(), colours, strict=False):
        errors = [
            np.abs(predicted - data.true)[place == index].mean() if (place == index).any() else 0
            for index in range(len(edges) - 1)
        ]
        axes.plot((edges[:-1] + edges[1:]) / 2, errors, marker="o", color=colour, label=name)
    axes.set(xlabel="true ratio", ylabel="mean absolute error", ylim=(0, None))
    axes.legend(frameon=False, fontsize=8)
    return _svg(axes)


def _plot_targets(data: ReportData) -> str:
    axes = _axes()
    axes.hist(data.training_targets, bins=40, range=(0, 1), color=ACCENT)
    axes.set(xlabel="synthenticity", ylabel="sequences")
    return _svg(axes)


def _heat_sample(sample: HeatSample) -> str:
    spans = []
    for index, token in enumerate(sample.tokens):
        label = int(sample.labels[index])
        kind = {1: " class='restored'", 2: " class='replaced'"}.get(label, "")
        style = title = ""
        if sample.probabilities is not None:
            probability = float(sample.probabilities[index])
            style = f" style='background:rgb(233 105 47/{probability**1.5:.2f})'"
            title = f" title='{probability:.2f}'"
        spans.append(f"<span{kind}{style}{title}>{html.escape(token)}</span>")
    return (
        f"<section><h3>{html.escape(sample.title)}</h3><p class='facts'>true "
        f"{sample.true:.2f}, predicted {sample.predicted:.2f}</p>"
        f"<div class='heat'>{''.join(spans)}</div></section>"
    )


def _scale() -> str:
    steps = "".join(
        f"<span style='background:rgb(233 105 47/{(step / 10) ** 1.5:.2f})'>{step / 10:.1f}</span>"
        for step in range(0, 11, 2)
    )
    return f"<p class='scale'>human {steps} machine</p>"


_STYLE = """
:root{color-scheme:light dark;--ink:#1c1e21;--paper:#fdfcfa;--line:#d9d6d0}
@media (prefers-color-scheme:dark){:root{--ink:#e6e3de;--paper:#17181b;--line:#3a3c41}}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,sans-serif}
main{max-width:62rem;margin:0 auto;padding:2rem 1.2rem 4rem}
h1{margin:.2rem 0 1rem;font-size:1.9rem}h2{margin-top:2.4rem}h3{margin:1.6rem 0 0;font-size:1rem}
table{border-collapse:collapse;margin:1.2rem 0;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .9rem;border-bottom:1px solid var(--line);text-align:right}
tbody th{text-align:left;font-weight:500}.wide{overflow-x:auto}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(20rem,1fr));gap:1.4rem}
figure{margin:0;background:#fff;border:1px solid var(--line);border-radius:8px;padding:.6rem}
figure svg{width:100%;height:auto}figcaption{color:#55595f;font-size:.85rem;text-align:center}
.facts{margin:.1rem 0 .4rem;opacity:.75;font-size:.9rem}
.heat{white-space:pre-wrap;font:15px/1.8 ui-monospace,monospace;border-left:3px solid var(--line);
padding-left:1rem}
.replaced{border-bottom:2px solid currentColor}.restored{border-bottom:2px dotted currentColor}
.scale span{padding:.15rem .5rem}pre{white-space:pre-wrap;padding:1rem;border:1px solid var(--line);
border-radius:8px}
"""
