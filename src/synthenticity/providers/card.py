"""The card of a finite data set of batch files."""

import json
from collections.abc import Mapping
from typing import Any

from synthenticity.data_card import counts_table, data_card, histogram_table, models_list
from synthenticity.stream.batch_queue import BatchQueue
from synthenticity.stream.meta import Meta
from synthenticity.stream.summary import StreamSummary

HUB_SPLITS = {"train": "train", "val": "validation", "test": "test"}
"""What `datasets` calls our splits."""


def finite_set_card(
    queue: BatchQueue, meta: Meta, summary: StreamSummary, *, licence: str | None
) -> str:
    """Return the card of a complete directory as Markdown with its YAML head."""
    files = {name: len(queue.numbers(name)) for name in HUB_SPLITS}
    splits = {name: count * meta.rows_per_file for name, count in files.items() if count}
    figures = summary.to_json()
    return data_card(
        queue.title,
        rows={HUB_SPLITS[name]: rows for name, rows in splits.items()},
        files={HUB_SPLITS[name]: f"{name}/*.parquet" for name in splits},
        licence=licence,
        sections={
            "": f"Sequences of tokens for {meta.task['training_type']} training, made by the "
            f"provider `{meta.task['dataset_name']}`.",
            "What it holds": _counts(splits, summary, figures),
            "Fields": _fields(meta),
            "How it was made": _making(meta.made_with),
            "Known limits": "- Tokens are ids of the tokenizer in `tokenizer/`.\n"
            "- The pools of documents behind train, validation and test are disjoint; within a "
            "split, windows may overlap.\n- Labels say what *this* run wrote: what the corpus "
            "held is taken for human.",
        },
    )


def _counts(splits: Mapping[str, int], summary: StreamSummary, figures: Mapping[str, Any]) -> str:
    lines = [f"- {HUB_SPLITS[name]}: {rows:,} sequences" for name, rows in splits.items()]
    lines.append(f"- {summary.tokens:,} tokens, padding counted")
    if summary.filled:
        lines.append(
            f"- {summary.filled:,} filled tokens, {figures['restored_share']:.1%} of them restored"
        )
    if "padding_auroc" in figures:
        lines.append(
            "- padding alone tells filled from untouched sequences with an AUROC of "
            f"{figures['padding_auroc']:.3f} (chance: .5)"
        )
    if summary.reencoded is not None:
        lines.append(
            f"- {figures['reencoding_differs_share']:.1%} of the sequences are other ids than the "
            "model wrote: the tokenizer has read the final text again"
        )
    table = counts_table("recipe", dict(sorted(summary.recipes.items())), "sequences")
    histogram = histogram_table(summary.graded, summary.histogram())
    return "\n".join([*lines, "", table, "", histogram])


def _fields(meta: Meta) -> str:
    rows = [
        f"| `{column.name}` | {column.stored}{list(column.shape) or ''} | {column.role} |"
        for column in meta.schema.columns
    ]
    return "\n".join(["| field | stored as | role |", "|---|---|---|", *rows])


def _making(made_with: Mapping[str, Any]) -> str:
    own = {key: value for key, value in made_with.items() if key != "models"}
    lines = [f"- {key}: `{json.dumps(value)}`" for key, value in own.items()]
    models = models_list(made_with["models"]) if "models" in made_with else ""
    return "\n".join([*lines, *([models] if models else [])])
