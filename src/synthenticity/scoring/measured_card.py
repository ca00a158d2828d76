"""What an evaluation says of a scorer, as sections of its card and as figures for the hub.

Every figure is read from what `evaluate --out` wrote of these very weights, and stands with its
interval and beside baselines. What was not measured is said not to have been.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthenticity.errors import CompatibilityError
from synthenticity.scoring.calibration import weights_fingerprint

Row = Mapping[str, Any]
SCORER = "scorer"
SURE = 1.96
"""Standard errors of a 95 % interval."""
RESULTS = (
    ("mae", "MAE of the ratio, partly filled sequences", "mae"),
    ("roc_auc", "AUROC, filled against untouched sequences", "document_auroc"),
    ("fpr", "untouched sequences above the threshold of 1 %", "human_alarms_at_1"),
)
"""Of the hub: kind, name, and the figure of the evaluation."""
HUMAN = """\
How many untouched (human) sequences are above the thresholds that 1 % and 5 % of the first data \
set's val split exceed, with 95 % intervals (Wilson).

{by_data}

By length, at the same thresholds:

{by_length}

Sequences of one document are alike, so the truth is less sure than the intervals say. Rates are \
by data set: sequences hold no domain, so domains are told apart where each is a data set of its \
own, and of others than these nothing is known."""
SYSTEMS = """\
**{name}**: {sequences:,} sequences of {documents:,} documents, which neither scorer nor baselines \
were fitted on. MAE and r of the ratio, over the partly filled ones, in brackets 95 % intervals \
over documents; token AUROC within sequences; detected from: the ratio from which on nine of ten \
are above the threshold of 1 %.

{table}"""
COLUMNS = (
    "",
    "MAE",
    "scorer's less",
    "Pearson r",
    "token AUROC",
    "doc. AUROC",
    "detected from",
)


@dataclass(frozen=True)
class Result:
    """One figure for the hub: of which data, of which kind, what it is and its value."""

    data: str
    kind: str
    name: str
    value: float


@dataclass(frozen=True)
class Measured:
    """What was measured of a scorer.

    Attributes:
        rows: of the evaluation, one a data set; none without one.
        seeds: training seeds that figures are means over.

    """

    rows: Sequence[Row] = ()
    seeds: int = 1

    @classmethod
    def of(cls, evaluation: Row | None, run: Path) -> "Measured":
        """Return what an evaluation says of a run, nothing without one.

        Raises:
            CompatibilityError: it is no evaluation, or one of other weights.

        """
        if evaluation is None:
            return cls()
        _check(evaluation, run)
        return cls(list(evaluation["rows"]), len(evaluation["runs"]))

    def results(self) -> Iterator[Result]:
        """Yield the figures for the hub, as far as they are known."""
        for row in self.rows:
            figures = row["systems"][SCORER]["figures"]
            for kind, name, key in RESULTS:
                if figures.get(key) is not None:
                    yield Result(row["name"], kind, name, figures[key])

    def sections(self) -> dict[str, str]:
        """Return the sections of the card, by title."""
        if not self.rows:
            return {"How good it is": "Not measured: the card was made without an evaluation."}
        note = f" Figures are means over {self.seeds} training seeds." if self.seeds > 1 else ""
        return {
            "Human text": _human(self.rows) + note,
            "How good it is": "\n\n".join(_systems(row) for row in self.rows) + note,
            "Intervals": _intervals(self.rows),
            "Alarms": _alarms(self.rows),
        }


def _check(evaluation: Row, run: Path) -> None:
    """Raise a `CompatibilityError` if an evaluation is not one of a run's weights.

    They are those of the folder as it was judged; calibrating and publishing leave them alone.
    """
    try:
        names = [Path(each).name for each in evaluation["runs"]]
        complete = all(SCORER in row["systems"] for row in evaluation["rows"])
    except (KeyError, TypeError):
        complete = False
    if not complete:
        raise CompatibilityError(
            "--evaluation: is not what synthenticity evaluate RUN DATA --out FILE.json writes. "
            "Give such a file."
        )
    if "weights" not in evaluation:
        raise CompatibilityError(
            "--evaluation: does not say of which weights it is (an older version wrote it). "
            "Evaluate again."
        )
    if weights_fingerprint(run) not in evaluation["weights"]:
        raise CompatibilityError(
            f"--evaluation: judges other weights ({', '.join(names)}) than lie in {run}. Evaluate "
            "this run."
        )


def _human(rows: Sequence[Row]) -> str:
    """Return how often untouched text is above the thresholds, by data set and by length."""
    by_data, by_length = [], []
    for row in rows:
        figures = row["systems"][SCORER]["figures"]
        count = f"{figures.get('human_sequences', 0):,}"
        mean = _number(figures.get("human_mean"))
        by_data.append([row["name"], count, f"{row['documents']:,}", *_alarm_rates(figures), mean])
        for each in figures.get("documents_by_length", ()):
            count = f"{each.get('human_sequences', 0):,}"
            by_length.append([row["name"], _bucket(each), count, *_alarm_rates(each)])
    columns = ["data", "untouched", "documents", "above 1 %", "above 5 %", "mean score"]
    return HUMAN.format(
        by_data=_table(columns, by_data),
        by_length=_table(["data", "tokens", "untouched", "above 1 %", "above 5 %"], by_length),
    )


def _alarm_rates(figures: Row) -> list[str]:
    human = figures.get("human_sequences", 0)
    return [_share(figures.get(f"human_alarms_at_{rate}"), human) for rate in ("1", "5")]


def _systems(row: Row) -> str:
    """Return the table of errors, scorer first, of one data set."""
    cells = [_system(name, system) for name, system in row["systems"].items()]
    facts = {key: row[key] for key in ("name", "sequences", "documents")}
    return SYSTEMS.format(**facts, table=_table(COLUMNS, cells))


def _system(name: str, system: Row) -> list[str]:
    figures, difference = system["figures"], system.get("mae_difference")
    return [
        f"**{name}**" if name == SCORER else name,
        _with_interval(system, "mae"),
        "" if difference is None else f"{difference:+.3f}",
        _number(figures.get("pearson")),
        _number(figures.get("token_auroc_filled_within")),
        _number(figures.get("document_auroc")),
        _detected(figures),
    ]


def _detected(figures: Row) -> str:
    if "detection_limit_at_1" not in figures:
        return ""
    return _number(figures["detection_limit_at_1"]) or "never"


def _intervals(rows: Sequence[Row]) -> str:
    kinds = {"partly filled": "", "untouched": "human_", "all": "all_"}
    cells = []
    for row in rows:
        system = row["systems"][SCORER]
        for name, prefix in kinds.items():
            if f"{prefix}interval_coverage" in system["figures"]:
                held = _with_interval(system, f"{prefix}interval_coverage")
                width = _number(system["figures"].get(f"{prefix}interval_width"))
                cells.append([row["name"], name, held, width])
    if not cells:
        return "Not measured."
    return "How often the truth lies in intervals that should hold 90 %.\n\n" + _table(
        ["data", "sequences", "holds", "mean width"], cells
    )


def _alarms(rows: Sequence[Row]) -> str:
    """Return what rings of the checks for leaks, or that nothing does."""
    every = [(row["name"], alarm) for row in rows for alarm in row["alarms"]]
    rung = [
        f"- **{name}: {alarm['name']}.** {alarm['sentence']}"
        for name, alarm in every
        if alarm["rings"]
    ]
    said = f"{len(rung)} of {len(every)} checks for leaks and shortcuts ring."
    return "\n".join([said, *([""] if rung else []), *rung])


def _share(share: float | None, of: int) -> str:
    """Return a share with its Wilson interval.

    >>> _share(0.0, 56), _share(None, 0)
    ('0.000 [0.000, 0.064]', '')
    """
    if share is None or not of:
        return ""
    middle = (share + SURE**2 / (2 * of)) / (1 + SURE**2 / of)
    reach = SURE * math.sqrt(share * (1 - share) / of + SURE**2 / (4 * of**2)) / (1 + SURE**2 / of)
    low, high = max(middle - reach, 0.0), min(middle + reach, 1.0)
    return f"{share:.3f} [{low:.3f}, {high:.3f}]"


def _bucket(bucket: Row) -> str:
    if bucket["to"] is None:
        return f"{bucket['from']:g} or more"
    return f"{bucket['from']:g}-{bucket['to']:g}"


def _with_interval(system: Row, key: str) -> str:
    text = _number(system["figures"].get(key))
    if text and key in system["intervals"]:
        low, high = system["intervals"][key]
        text += f" [{low:.3f}, {high:.3f}]"
    return text


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _table(columns: Sequence[str], cells: Iterable[Sequence[str]]) -> str:
    rows = [f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *cells)]
    return "\n".join(rows)
