"""`report.html`: what an evaluation found, as one page with tables, plots and coloured text."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from synthenticity.durable import write_whole
from synthenticity.evaluation.evaluate import Evaluated, Evidence
from synthenticity.evaluation.heat import heat_samples
from synthenticity.evaluation.judging import SCORER, partly_filled
from synthenticity.evaluation.known_limits import LIMITS
from synthenticity.evaluation.page import (
    code,
    figure,
    heading,
    heat_sample,
    heat_scale,
    page,
    paragraph,
    plots,
)
from synthenticity.evaluation.plots import (
    plot_errors,
    plot_histogram,
    plot_learning_curve,
    plot_reliability,
    plot_roc,
    plot_scatter,
    plot_table,
)
from synthenticity.evaluation.tables import (
    Row,
    alarm_list,
    length_table,
    provenance,
    systems_tables,
    with_interval,
)

FEWEST_DOCUMENTS = 10
FEW_DOCUMENTS = " Intervals over so few documents say little."
DRAWN = 3
"""So many of the others, the best ones, are drawn beside the scorer."""


def write_report(
    path: Path,
    found: Evaluated,
    *,
    title: str = "How good is this scorer?",
    about: Sequence[str] = (),
    commands: Sequence[str] = (),
) -> None:
    """Write the page.

    Args:
        path: of the page.
        found: what it shows.
        title: of the page.
        about: paragraphs that stand before the figures.
        commands: with which all was made.

    Raises:
        MissingExtraError: without matplotlib (extra `eval`).

    """
    first = found.rows[0], found.evidence[0]
    parts = [
        *(paragraph(text) for text in [*about, *map(_summary, found.rows)]),
        *alarm_list(found.rows),
    ]
    for row, evidence in zip(found.rows, found.evidence, strict=True):
        parts += _section(row, evidence)
    parts += [heading("Across data sets, and in training"), plots(_overall(found))]
    parts += [heading("Which words"), paragraph(_ABOUT_HEAT), heat_scale()]
    parts += [heat_sample(each) for each in heat_samples(first[1], found.tokenizer)]
    parts += [heading("How this was made"), paragraph(_provenance(found))]
    parts += [*([code(commands)] if commands else []), provenance(found)]
    write_whole(path, page(title, parts))


def _summary(row: Row) -> str:
    """Return the outcome on a data set, in words."""
    systems = row["systems"]
    own = systems[SCORER]
    others = _others(row)
    best = systems[others[0]]
    low, high = best["intervals"]["mae_difference"]
    verdict = (
        "which the scorer beats"
        if high < 0
        else "which beats the scorer"
        if low > 0
        else "from which the scorer cannot be told apart"
    )
    limits = [
        f" {name[:1].upper()}{name[1:]}: {systems[name]['figures']['mae']:.3f}."
        for name in LIMITS
        if name in systems
    ]
    return (
        f"On {row['sequences']:,} sequences of {row['documents']:,} documents that nothing was "
        f"trained on ({row['name']}), the scorer's mean absolute error is "
        f"{with_interval(own, 'mae')} over the partly filled ones. The best of the others, "
        f"{others[0]}, errs by {with_interval(best, 'mae')}, {verdict}.{''.join(limits)}"
        f"{FEW_DOCUMENTS if row['documents'] < FEWEST_DOCUMENTS else ''}"
    )


def _others(row: Row) -> list[str]:
    """Return who is judged beside the scorer, but for limits, the best first."""
    systems = row["systems"]
    names = [name for name in systems if name not in (SCORER, *LIMITS)]
    return sorted(names, key=lambda name: float(systems[name]["figures"]["mae"]))


def _drawn(row: Row) -> list[str]:
    """Return who is drawn: the scorer, the best of the others, and what is known at best."""
    limits = [name for name in LIMITS if name in row["systems"]]
    return [SCORER, *_others(row)[:DRAWN], *limits]


def _section(row: Row, evidence: Evidence) -> list[str]:
    """Return what is found on one data set."""
    return [
        heading(f"On {row['name']}"),
        *systems_tables(row),
        plots(_plots(row, evidence)),
        *length_table(row),
    ]


def _plots(row: Row, evidence: Evidence) -> list[str]:
    """Return the plots of one data set; of several runs, the first is drawn."""
    test, said = evidence.test, evidence.said[SCORER][0]
    drawn = _drawn(row)
    errors = {name: row["systems"][name]["figures"]["by_ratio"] for name in drawn}
    found = [
        figure(
            plot_scatter(test.ratios, said.ratios),
            "The scorer's ratio against the true one, a point for each sequence",
        ),
        figure(
            plot_errors(errors, LIMITS),
            "Mean absolute error by true ratio: the scorer, the best of the others, and what is "
            "known at best",
        ),
    ]
    if said.tokens is not None:
        partly = partly_filled(test)
        counted = test.counted[partly]
        filled = np.isin(test.columns["token_labels"][partly][counted], (1, 2))
        found.append(
            figure(
                plot_reliability(said.tokens[partly][counted], filled),
                "How often a token was filled by the probability that was said (points; the line "
                "is right), and how often that was said (bars)",
            )
        )
    human = int((test.ratios == 0).sum())
    if human:
        found.append(
            figure(
                plot_roc(said.scores, test.ratios),
                f"Filled sequences detected by false alarms on {human:,} untouched ones, by true "
                "ratio; grey lines at 1 % and 5 %",
            )
        )
    return found


def _overall(found: Evaluated) -> list[str]:
    """Return the learning curve, the training targets, and errors across data sets."""
    row, history = found.rows[0], _history(Path(found.runs[0]))
    figures = []
    if history:
        marks = {name: row["systems"][name]["figures"]["mae_all"] for name in _drawn(row)[1:]}
        caption = (
            "Error over all sequences of the val split in training; horizontal lines: that of the "
            f"others over all of {row['name']}'s test split, so the two are near, not equal"
        )
        figures.append(figure(plot_learning_curve(history, marks, LIMITS), caption))
    histogram = plot_histogram(found.training, xlabel="true ratio", ylabel="sequences")
    figures.append(figure(histogram, "The ratios that scorer and baselines learned from"))
    if len(found.rows) > 1:
        names = list(dict.fromkeys(name for row in found.rows for name in row["systems"]))
        errors = [[_mae(row, name) for row in found.rows] for name in names]
        data = [str(row["name"]) for row in found.rows]
        caption = "Mean absolute error of every system (row) on every data set (column)"
        figures.append(figure(plot_table(np.array(errors), names, data), caption))
    return figures


def _mae(row: Row, name: str) -> float:
    system = row["systems"].get(name)
    return float("nan") if system is None else float(system["figures"]["mae"])


def _history(run: Path) -> list[tuple[int, float]]:
    """Return iteration and val error of a run, as far as it says."""
    try:
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        steps = [each for each in metrics.get("history", ()) if "eval_mae" in each]
        return [(int(each["step"]), float(each["eval_mae"])) for each in steps]
    except (OSError, ValueError, AttributeError, KeyError):
        return []


def _provenance(found: Evaluated) -> str:
    """Return what was judged, in words."""
    return (
        f"Scorer: {', '.join(found.runs)}. Baselines were fitted on {found.fitted:,} sequences of "
        f"{found.rows[0]['name']}'s train split."
    )


_ABOUT_HEAT = (
    "Background: probability that a token is machine-written. Underlined: it truly was written by "
    "the filling model (solid: it differs from the original; dotted: it happens to equal it). "
    "Hover for the probability."
)
