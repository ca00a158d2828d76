"""How much of the filling model's own pace does `prepare` keep, and where does the rest go?

    python benchmarks/prepare.py                       # some minutes on 2 cores
    python benchmarks/prepare.py --device cuda

From a corpus to committed files, in pairs in one run: `prepare`, and the engine alone on the rows
that `prepare` gave it, in the same batches. Then the steps one after the other, each timed. Threads
wait as those of the command do.
"""

import argparse
import dataclasses
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import record
import torch
from prepare_shapes import LENGTHS, settings

from synthenticity.config import Config
from synthenticity.providers.base import joined
from synthenticity.providers.prepare import prepare
from synthenticity.providers.sequence_scorer import SequenceScorerProvider
from synthenticity.stream.batch_file import Identity, encode_batch_file
from synthenticity.stream.batch_queue import BatchQueue
from synthenticity.stream.meta import FINITE

RATIOS = (0.15, 0.5)
BATCH, BATCHES = 32, 4
STEPS = ("draw and mask", "model", "sampling", "label", "encode", "commit")
TOP_K = 50


class Bench:
    """One shape and share of masked tokens: a provider, and the calls of its engine."""

    def __init__(self, folder: Path, config: Config, files: int) -> None:
        self.folder, self.config, self.files = folder, config, files
        self.provider = SequenceScorerProvider(config)
        (model,) = self.provider.filler.models.values()
        self.engine: Any = model.engine
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        fill = self.engine.fill

        def noted(*given: Any, **sampling: Any) -> Any:
            self.calls.append((given, sampling))
            return fill(*given, **sampling)

        self.engine.fill = noted
        self.filled = self.prepared("noted")["filled_tokens"]
        self.engine.fill = fill

    def prepared(self, name: str) -> dict[str, Any]:
        """Run `prepare` into a new folder and return its summary."""
        return prepare(
            self.config,
            self.folder / name,
            files=self.files,
            splits=["train"],
            provider=self.provider,
        )

    def engine_alone(self) -> float:
        """Return the seconds that the engine takes for the same calls."""
        start = time.perf_counter()
        for given, sampling in self.calls:
            self.engine.fill(*given, **sampling)
        return time.perf_counter() - start

    def seconds_of_steps(self) -> dict[str, float]:
        """Return what each step takes where one waits for the other."""
        seconds = dict.fromkeys(STEPS, 0.0)

        def timed(step: str, work: Callable[..., Any]) -> Callable[..., Any]:
            def run(*given: Any, **named: Any) -> Any:
                synchronise(self.engine)
                start = time.perf_counter()
                made = work(*given, **named)
                synchronise(self.engine)
                seconds[step] += time.perf_counter() - start
                return made

            return run

        queue, meta = BatchQueue(self.folder / "steps"), self.provider.meta(FINITE)
        queue.private.mkdir(parents=True)
        queue.put_meta(meta)
        self.engine._draw = timed("sampling", type(self.engine)._draw.__get__(self.engine))
        for number in range(self.files):
            batches = []
            for index in range(BATCHES):
                rng = self.provider.batch_rng("train", number, index)
                drawn = timed("draw and mask", self.provider.draw_batch)("train", rng)
                filled = timed("model", self.provider.fill_batch)(drawn)
                batches.append(timed("label", self.provider.label_batch)(filled))
            columns = timed("label", joined)(batches)
            identity = Identity(meta.fingerprint, "train", number)
            content = timed("encode", encode_batch_file)(columns, meta.schema, identity)
            timed("commit", queue.put)("train", number, content)
        del self.engine._draw
        seconds["model"] -= seconds["sampling"]
        return seconds


def synchronise(engine: Any) -> None:
    if engine.device.type == "cuda":
        torch.cuda.synchronize()


def measured(bench: Bench, name: str, pairs: int) -> dict[str, str]:
    """Return the line of a shape: medians of pairs, and the shares of the steps."""
    ours, alone = [], []
    for pair in range(pairs):
        ours.append(bench.filled / bench.prepared(f"pair {pair}")["seconds"])
        alone.append(bench.filled / bench.engine_alone())
    kept = [mine / its for mine, its in zip(ours, alone, strict=True)]
    seconds = bench.seconds_of_steps()
    total = sum(seconds.values())
    beside = (total - seconds["model"]) / total
    return {
        "shape": name,
        "filled tokens/s of prepare": f"{statistics.median(ours):,.0f}",
        "of the engine alone": f"{statistics.median(alone):,.0f}",
        "kept (range)": f"**{statistics.median(kept):.1%}** ({min(kept):.1%} to {max(kept):.1%})",
        **{step: f"{seconds[step] / total:.2%}" for step in STEPS},
        "all but the model": f"{beside:.1%}",
    }


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--device", default="auto")
    asked.add_argument("--shapes", nargs="*", default=list(LENGTHS), choices=list(LENGTHS))
    asked.add_argument("--ratios", nargs="*", default=RATIOS, type=float)
    asked.add_argument("--pairs", type=int, default=5)
    asked.add_argument("--files", type=int, default=6)
    options = asked.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for shape in options.shapes:
            for ratio in options.ratios:
                config = dataclasses.replace(
                    settings(Path(name), shape, ratio),
                    device=options.device,
                    top_k=TOP_K,
                    batch_size=BATCH,
                    batches_per_file=BATCHES,
                )
                bench = Bench(Path(name) / f"{shape} {ratio}", config, options.files)
                label = f"{shape}, {ratio:.0%}, {bench.engine.arithmetic.split(' unwritable')[0]}"
                rows.append(measured(bench, label, options.pairs))
    threads = torch.get_num_threads()
    record.write(
        "prepare",
        title="prepare, from the corpus to committed files",
        command="python benchmarks/prepare.py",
        about=f"{options.files} files of {BATCHES} batches of {BATCH} sequences of Shakespeare, by "
        "random weights of 6 layers of 384: S characters, 256 of them; M the same size with a "
        f"vocabulary of 30,522 WordPieces and 128 of them; top-{TOP_K}; {threads} "
        f"thread{'s' * (threads > 1)}. `prepare` against the engine alone on the same calls, in "
        f"turns, medians of {options.pairs} pairs. Then the share of each step where one waits for "
        "the other, as they do not in `prepare`; to label is to read the final texts again, too.",
        rows=rows,
    )


if __name__ == "__main__":
    main()
