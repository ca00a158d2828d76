"""Tables of a report: systems, lengths, alarms, files and thresholds."""

from collections.abc import Mapping, Sequence
from typing import Any

from synthenticity.evaluation.evaluate import Evaluated
from synthenticity.evaluation.judging import SCORER
from synthenticity.evaluation.page import folded, paragraph, table

Row = Mapping[str, Any]
RATIO_COLUMNS = {
    "MAE": "mae",
    "scorer's minus this": "mae_difference",
    "MAE of all": "mae_all",
    "bias": "bias",
    "Pearson r": "pearson",
    "R²": "r2",
    "90 % interval holds": "interval_coverage",
    "its width": "interval_width",
}
ABOUT_RATIOS = (
    "The ratio, over the partly filled sequences; MAE of all: with untouched and wholly filled "
    "ones. Scorer's minus this: the difference of the errors, below 0 where the scorer errs less. "
    "In brackets: 95 % intervals over documents."
)
OTHER_COLUMNS = {
    "untouched text": "human_mean",
    "doc. AUROC": "document_auroc",
    "alarms at 1 %": "human_alarms_at_1",
    "detected from": "detection_limit_at_1",
    "token AUROC": "token_auroc_filled_within",
    "its precision": "token_average_precision_filled",
    "token ECE": "token_ece",
}
ABOUT_OTHERS = (
    "Documents and tokens. Untouched text: the ratio that is said of it (0 is right). Doc. AUROC: "
    "filled against untouched sequences. Alarms: untouched sequences above the threshold that 1 % "
    "of the val split's exceed. Detected from: the ratio from which on nine of ten are above it. "
    "Token AUROC: filled against other tokens, within sequences; its precision: average precision, "
    "over all."
)
WITH_INTERVAL = ("mae", "mae_difference", "token_auroc_filled_within")


def systems_tables(row: Row) -> list[str]:
    """Return the figures of every system on a data set, the scorer first: ratios, then the rest."""
    return [
        _systems_table(row, RATIO_COLUMNS, ABOUT_RATIOS),
        _systems_table(row, OTHER_COLUMNS, ABOUT_OTHERS),
    ]


def _systems_table(row: Row, columns: Mapping[str, str], about: str) -> str:
    """Return some columns, without those that nobody has a figure for."""
    used = [
        name
        for name, key in columns.items()
        if any(_cell(system, key) for system in row["systems"].values())
    ]
    cells = [
        [_called(name, system, row), *(_cell(system, columns[each]) for each in used)]
        for name, system in row["systems"].items()
    ]
    return table(about, ["", *used], cells, marked=0)


def _called(name: str, system: Row, row: Row) -> str:
    """Return a system's name, and of how many sequences it was asked if not of all."""
    asked = system["sequences"]
    return name if asked == row["sequences"] else f"{name}, first {asked:,}"


def _cell(system: Row, key: str) -> str:
    if key in WITH_INTERVAL and key in system["intervals"]:
        return with_interval(system, key)
    figures = system["figures"]
    if key not in figures:
        return ""
    return "never" if figures[key] is None else f"{figures[key]:.3f}"


def with_interval(system: Row, key: str) -> str:
    """Return a figure of a system with its interval."""
    value = system["figures"].get(key, system.get(key))
    low, high = system["intervals"][key]
    sign = "+" if key.endswith("difference") else ""
    return f"{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def length_table(row: Row) -> list[str]:
    """Return the scorer's figures by length, where lengths differ."""
    figures = row["systems"][SCORER]["figures"]
    errors = {each["from"]: each for each in figures["by_length"]}
    buckets = figures["documents_by_length"]
    if len(buckets) < 2:
        return []
    cells = [
        [
            f"{each['from']:g} or more"
            if each["to"] is None
            else f"{each['from']:g}-{each['to']:g}",
            *(_number(errors.get(each["from"], {}), key) for key in ("sequences", "mae", "bias")),
            *(_number(each, key) for key in ("human_sequences", "human_alarms_at_1")),
            _number(each, "detection_limit_at_1"),
        ]
        for each in buckets
    ]
    columns = [
        "tokens",
        "partly filled",
        "MAE",
        "bias",
        "untouched",
        "alarms at 1 %",
        "detected from",
    ]
    return [table("The scorer by length, at the thresholds of all lengths", columns, cells)]


def _number(values: Row, key: str) -> str:
    if key not in values:
        return ""
    value = values[key]
    if value is None:
        return "never"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def alarm_list(rows: Sequence[Row]) -> list[str]:
    """Return the alarms that ring, and all others when asked for."""
    rung = [
        paragraph(f"Alarm, {row['name']}: {alarm['name']}. {alarm['sentence']}", kind="alarm")
        for row in rows
        for alarm in row["alarms"]
        if alarm["rings"]
    ]
    cells = [
        [row["name"], alarm["name"], "rings" if alarm["rings"] else "silent", alarm["sentence"]]
        for row in rows
        for alarm in row["alarms"]
    ]
    if not cells:
        return []
    listed = table("Alarms", ["data", "alarm", "", "what was found"], cells, prose=True)
    said = f"{len(rung)} of {len(cells)} alarms ring."
    return [*rung, folded(f"{said} All of them", listed)]


def provenance(found: Evaluated) -> str:
    """Return the files that were judged, and the thresholds."""
    files = [
        [row["name"], name, digest] for row in found.rows for name, digest in row["files"].items()
    ]
    thresholds = [
        [name, *(f"{value:.4f}" for value in by_rate.values())]
        for name, by_rate in found.thresholds.items()
    ]
    rates = [f"{float(rate):.0%}" for rate in found.thresholds[SCORER]]
    listed = table("Files of the test splits", ["data", "file", "SHA-256"], files, prose=True)
    chosen = table(
        "Thresholds, by false alarms on the val split's human text", ["", *rates], thresholds
    )
    return folded("Files and thresholds", listed + chosen)
