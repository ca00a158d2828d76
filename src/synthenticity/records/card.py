"""The card of a folder of records: what it holds, how it was made, what it does not say."""

from collections.abc import Mapping
from typing import Any

from synthenticity.data_card import counts_table, data_card, histogram_table, models_list
from synthenticity.evaluation.alarms import ArtefactAlarm
from synthenticity.records.dataset_folder import RecordFacts

LIMITS = """\
- Labels say what *this* run wrote. If the corpus already held machine-written text, it is
  labelled original.
- The filling models above wrote everything; a detector trained on this data alone may learn these
  models rather than machine-written text. Hold out a model, a pattern and a domain when you test.
- A restored token (label 1) was written by the model and equals the original: no method can see it
  in the text.
- Special, unknown and padding tokens are not counted (label -100).
- Characters that take several tokens are never filled."""

FIELDS = """\
| field | meaning |
|---|---|
| `id`, `copy` | the document, and which filling of it this is |
| `original`, `text` | before and after filling; characters outside the spans are the same |
| `spans` | `start`, `end` (characters of `text`), `label` (restored or replaced), `original` |
| `synthenticity`, `replaced_fraction` | filled and replaced tokens / counted tokens |
| `token_labels`, `token_starts`, `token_ends`, `token_ids` | of each of the model's tokens: \
0 original, 1 restored, 2 replaced, -100 not counted; characters of `text`; id |
| `log_probabilities`, `ranks` | of each written token, in order: nats, and 0 for the likeliest |
| `recipe`, `mlm` | how it was made, and which model wrote it |
| `group`, `domain` | as the corpus says, if it does |"""


def records_card(
    facts: RecordFacts,
    made_with: Mapping[str, Any],
    *,
    name: str,
    alarm: ArtefactAlarm | None,
    licence: str | None,
) -> str:
    """Return the card as Markdown with its YAML head."""
    return data_card(
        name,
        rows=facts.rows,
        files={split: f"data/{split}-*.parquet" for split in facts.rows},
        licence=licence,
        sections={
            "": "Human text, partly rewritten by language models, with the truth of every token.",
            "What it holds": _counts(facts),
            "Fields": FIELDS,
            "How it was made": _making(facts, made_with),
            "Artefacts": _artefacts(alarm),
            "Known limits": LIMITS,
        },
    )


def _counts(facts: RecordFacts) -> str:
    filled = facts.labels[1] + facts.labels[2]
    counted = filled + facts.labels[0]
    lines = [f"- {split}: {count:,} records" for split, count in facts.rows.items()]
    lines += [
        f"- {facts.characters:,} characters, {counted:,} counted tokens",
        f"- {filled:,} filled tokens ({filled / max(counted, 1):.1%}), of them "
        f"{facts.labels[1] / max(filled, 1):.1%} restored",
        f"- {facts.rejected:,} documents could not be used"
        + (" (`rejected.jsonl`)" if facts.rejected else ""),
    ]
    if facts.domains.keys() - {None}:
        lines += ["", counts_table("domain", facts.domains)]
    return "\n".join([*lines, "", histogram_table("synthenticity", facts.histogram)])


def _making(facts: RecordFacts, made_with: Mapping[str, Any]) -> str:
    lines = [
        f"- corpus: `{made_with['corpus']}`",
        f"- seed {made_with['seed']}, {made_with['copies']} record(s) of each document",
        *([f"- protected: `{made_with['protect']}`"] if made_with["protect"] else []),
        models_list(made_with["models"]),
        "",
        counts_table("recipe", facts.recipes),
        "",
        counts_table("mlm", facts.models),
    ]
    return "\n".join(lines)


def _artefacts(alarm: ArtefactAlarm | None) -> str:
    if alarm is None:
        return "Not measured: too few documents, or scikit-learn (extra `eval`) was not there."
    warning = "**Warning.** " if alarm.rings else ""
    return (
        f"{warning}{alarm.sentence()} (Length, white space, case, first and last character and "
        "byte pairs outside of the filled spans; logistic regression, cross-validated.)"
    )
