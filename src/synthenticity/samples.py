"""Samples of what was made, printed: texts before and after filling, coloured by label.

Into a pipe, where there are no colours, labels are marks around the tokens.
"""

from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.text import Text

from synthenticity.colours import colours_of
from synthenticity.display import format_figure, label_legend, labelled_text
from synthenticity.synthesis.token_labels import LABEL_NAMES
from synthenticity.terminal import PrepareView

if TYPE_CHECKING:
    from synthenticity.inspection import Inspection


def print_inspection(console: Console, found: "Inspection") -> None:
    """Print samples by label, and the figures of every split."""
    meta, colours = found.meta, colours_of(console)
    console.print(f"{meta['dataset_name']} ({meta['training_type']}), {meta['kind']}", markup=False)
    for sample in found.samples:
        facts = "  ".join(f"{key}={format_figure(value)}" for key, value in sample.facts.items())
        console.print()
        console.print(Text(facts, "bold"))
        parts: Group = Group(
            Text("original", "underline"),
            labelled_text(sample.original, [0] * len(sample.original), colours),
            Text(found.final_title, "underline"),
            labelled_text(sample.final, sample.labels, colours),
        )
        console.print(parts)
    console.print()
    console.print(label_legend(found.label_names, colours))
    for split, figures in found.statistics.items():
        console.print(PrepareView.summary_table(split, figures))


def print_filled(console: Console, records: list[dict[str, Any]]) -> None:
    """Print filled documents, the written stretches by label."""
    colours = colours_of(console)
    for record in records:
        text, cursor = record["text"], 0
        pieces: list[str] = []
        labels: list[int] = []
        for span in record["spans"]:
            start, end = span["start"], span["end"]
            pieces += [text[cursor:start], text[start:end]]
            labels += [0, 1 if span["label"] == LABEL_NAMES[1] else 2]
            cursor = end
        console.print()
        facts = {
            key: format_figure(record[key]) for key in ("id", "recipe", "synthenticity", "mlm")
        }
        console.print(Text("  ".join(f"{key}={value}" for key, value in facts.items()), "bold"))
        console.print(labelled_text([*pieces, text[cursor:]], [*labels, 0], colours))
    console.print()
    console.print(label_legend({label: LABEL_NAMES[label] for label in (0, 1, 2)}, colours))
