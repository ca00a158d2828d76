"""Data cards: Markdown made of counted facts, with the hub's own metadata as its head.

With that head (`huggingface_hub.DatasetCardData`) `datasets.load_dataset` finds the splits of a
folder, and the hub makes its viewer and its Croissant file of it after `push_to_hub`.
"""

from collections.abc import Mapping
from typing import Any

from synthenticity import __version__

TAGS = ("machine-generated text", "mask-filled text", "synthenticity")
SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B")


def data_card(
    name: str,
    *,
    rows: Mapping[str, int],
    files: Mapping[str, str],
    licence: str | None,
    sections: Mapping[str, str],
) -> str:
    """Return a card.

    Args:
        name: of the data set.
        rows: records of each split, by the hub's names of splits.
        files: the glob of each split's files.
        licence: of the texts, as the hub spells it, if it is known.
        sections: title and content of each section; the one without a title comes first.

    """
    parts = [_head(name, rows, files, licence), f"# {name}"]
    parts += [f"## {title}\n\n{text}" if title else text for title, text in sections.items()]
    return "\n\n".join([*parts, f"Made by synthenticity {__version__}."]) + "\n"


def _head(name: str, rows: Mapping[str, int], files: Mapping[str, str], licence: str | None) -> str:
    from huggingface_hub import DatasetCardData

    places = [{"split": split, "path": files[split]} for split in rows]
    data = DatasetCardData(
        pretty_name=name,
        license=licence,
        task_categories=["token-classification", "text-classification"],
        tags=list(TAGS),
        size_categories=[size_category(sum(rows.values()))],
        configs=[{"config_name": "default", "data_files": places}],
    )
    return f"---\n{data.to_yaml().strip()}\n---"


def size_category(rows: int) -> str:
    """Return the hub's name for a size.

    >>> size_category(500), size_category(25_000)
    ('n<1K', '10K<n<100K')
    """
    place = sum(rows >= 10**power for power in range(3, 3 + len(SIZES)))
    if place == 0:
        return "n<1K"
    return "n>1B" if place == len(SIZES) else f"{SIZES[place - 1]}<n<{SIZES[place]}"


def counts_table(title: str, counts: Mapping[Any, int], unit: str = "records") -> str:
    """Return counts by name as a Markdown table; what has no name is left out."""
    rows = [f"| {name} | {count:,} |" for name, count in counts.items() if name is not None]
    return "\n".join([f"| {title} | {unit} |", "|---|---|", *rows])


def histogram_table(title: str, counts: Any) -> str:
    """Return a histogram over 0 to 1 as a table."""
    width = 1 / len(counts)
    bins = {
        f"{index * width:.2f} to {(index + 1) * width:.2f}": int(count)
        for index, count in enumerate(counts)
    }
    return counts_table(title, bins)


def models_list(models: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what is known of filling models, a line each."""
    return "\n".join(
        f"- filling model {name}: revision {facts['revision'] or 'none (a local folder)'}, "
        f"fingerprint {facts['fingerprint']}, tokenizer {facts['tokenizer']}, computed as "
        f"{facts['arithmetic']}" + (f" ({int8_words(facts['int8'])})" if "int8" in facts else "")
        for name, facts in models.items()
    )


def with_int8(made_with: Mapping[str, Any]) -> dict[str, Any]:
    """Return how far each model in int8 is from float32, as an entry of a summary; or none."""
    models = made_with.get("models", {})
    figures = {name: facts["int8"] for name, facts in models.items() if "int8" in facts}
    return {"int8": figures} if figures else {}


def int8_words(figures: Mapping[str, float]) -> str:
    """Say what int8 changes of a model.

    >>> int8_words({"divergence_nats": 0.0012, "flipped_share": 0.0085})
    'int8 moves its predictions by 0.0012 nats and changes 0.85 % of its draws'
    """
    return (
        f"int8 moves its predictions by {figures['divergence_nats']:.2g} nats and changes "
        f"{100 * figures['flipped_share']:.2g} % of its draws"
    )
