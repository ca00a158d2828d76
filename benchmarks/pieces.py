"""What the small pieces cost: the figures that docstrings quote or rely on."""

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import record
import torch

from synthenticity.recipe import Recipe
from synthenticity.seeding import numpy_rng
from synthenticity.stream.batch_file import (
    BatchSchema,
    Column,
    Identity,
    encode_batch_file,
    read_batch_file,
)
from synthenticity.stream.batch_queue import BatchQueue
from synthenticity.synthesis.masking import mask_rows
from synthenticity.synthesis.sampling import Sampling, draw_tokens
from synthenticity.text.corpus import load_corpus
from synthenticity.text.reading import CorpusSource
from synthenticity.text.tokenization import build_character_tokenizer, encode

ROWS, LENGTH = 800, 256


def median_seconds(work: Callable[[], object], rounds: int = 9) -> float:
    """Return the median time of a call, the first left out."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def masking_rows() -> list[dict[str, str]]:
    """Time each pattern on 4096 sequences."""
    maskable = np.ones((4096, LENGTH), dtype=bool)
    ratios = np.linspace(0.1, 0.7, len(maskable))
    rows = []
    units = (np.random.default_rng(0).random(maskable.shape) < 0.3).cumsum(axis=1)
    for pattern in ("random", "span", "sticky", "word", "sentence", "suffix"):
        recipe = Recipe(pattern=pattern)
        seconds = median_seconds(
            partial(mask_rows, recipe, ratios, maskable, numpy_rng(0, "", 0, ""), units)
        )
        rows.append(row(f"masking, `{pattern}`", seconds / maskable.size * 1e9, "ns a token"))
    return rows


def corpus_rows() -> list[dict[str, str]]:
    """Time reading and encoding the plays, and the tokenizer itself on one of them."""
    source = CorpusSource(source="shakespeare")
    corpus = load_corpus(source)
    tokenizer = build_character_tokenizer([corpus.alphabet], block_size=LENGTH)
    text, play = "".join(corpus.texts), corpus.texts.read(0)
    by_table = median_seconds(lambda: encode(tokenizer, text)) / len(text)
    by_tokenizer = median_seconds(
        lambda: tokenizer(play, add_special_tokens=False)["input_ids"], 3
    ) / len(play)
    return [
        row("read the 38 plays", median_seconds(lambda: load_corpus(source)), "s"),
        row(f"encode them ({len(text):,} characters)", by_table * len(text), "s"),
        row("the tokenizer's own time / the table's, a character", by_tokenizer / by_table, "x"),
    ]


def file_rows() -> list[dict[str, str]]:
    """Time a batch file of the usual size."""
    columns = (
        Column("input_ids", "int64", (LENGTH,), "input", "uint16"),
        Column("token_labels", "int64", (LENGTH,), "target", "int8"),
        Column("targets", "float32", (), "target", "float32"),
    )
    schema, rng = BatchSchema(columns), np.random.default_rng(0)
    data = {
        "input_ids": rng.integers(4, 90, (ROWS, LENGTH)),
        "token_labels": rng.integers(0, 3, (ROWS, LENGTH)),
        "targets": rng.random(ROWS),
    }
    identity = Identity("0" * 32, "train", 0)
    content = encode_batch_file(data, schema, identity)
    with tempfile.TemporaryDirectory() as folder:
        queue = BatchQueue(folder)
        numbers = iter(range(10**6))
        queue.put("train", next(numbers), content)
        path = queue.path("train", 0)
        what = f"batch file of {ROWS} sequences of {LENGTH}"
        return [
            row(f"{what}: size", len(content) / 1024, "KiB"),
            row(
                f"{what}: encode",
                median_seconds(lambda: encode_batch_file(data, schema, identity)) * 1e3,
                "ms",
            ),
            row(
                f"{what}: commit (flushed to disk)",
                median_seconds(lambda: queue.put("train", next(numbers), content)) * 1e3,
                "ms",
            ),
            row(
                f"{what}: read and verify",
                median_seconds(lambda: read_batch_file(Path(path), identity)) * 1e3,
                "ms",
            ),
        ]


def draw_rows() -> list[dict[str, str]]:
    """Count the draws that rounding the logits to bfloat16 changes, for two kinds of noise."""
    rows, vocabulary = 20_000, 1000
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(rows, vocabulary, generator=generator)
    rounded = logits.bfloat16().float()
    keys = torch.arange(rows)
    everything = Sampling(torch.ones(rows), torch.zeros(rows, dtype=torch.long), torch.ones(rows))
    keyed = [draw_tokens(values, keys, everything) for values in (logits, rounded)]
    uniform = torch.rand(rows, 1, generator=generator)
    inverse = [
        torch.searchsorted(values.softmax(dim=1).cumsum(dim=1), uniform)
        for values in (logits, rounded)
    ]
    return [
        row(
            f"draws changed by bfloat16 rounding, {name}", float((a != b).float().mean()) * 100, "%"
        )
        for name, (a, b) in (("noise keyed by id", keyed), ("inverse CDF", inverse))
    ]


def row(what: str, value: float, unit: str) -> dict[str, str]:
    """Return a line of the table."""
    return {"piece": what, "figure": f"{value:.3g} {unit}"}


def main() -> None:
    streams = median_seconds(lambda: [numpy_rng(1, "train", n, "masks") for n in range(1000)])
    record.write(
        "pieces",
        title="What the pieces cost",
        command="python benchmarks/pieces.py",
        about="Medians of nine calls.",
        rows=[
            *corpus_rows(),
            *masking_rows(),
            row("open a stream of randomness", streams * 1e3, "microseconds"),
            *file_rows(),
            *draw_rows(),
        ],
    )


if __name__ == "__main__":
    main()
