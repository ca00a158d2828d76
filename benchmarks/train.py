"""How fast is a training step, beside the loop that one writes by hand?

Each variant trains in a process of its own, ours by `train` as the command calls it; the processes
take steps in turns, so that whatever else the machine does falls on all. Shapes: S is a BERT of 6
layers of 384 on characters, M the same with a vocabulary of 30,522, `demo` the model that
`synthenticity demo` trains. 15 % of the tokens are masked.
"""

import argparse
import dataclasses
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import record

ROUNDS = 5
PAGE = resource.getpagesize()
WARM_UP = 3
CHARACTERS = [chr(code) for code in range(32, 122)]


@dataclasses.dataclass(frozen=True)
class Shape:
    """A model (a BERT, if it has a vocabulary of its own) and its batches."""

    batch: int
    length: int
    vocabulary: int | None = None


SHAPES = {"S": Shape(64, 256, 96), "M": Shape(32, 128, 30_522), "demo": Shape(4, 256)}
GROWTH_STEPS = (50, 500)
FROZEN = {"freeze_transformer": True, "dtype": "bfloat16"}
VARIANTS: dict[str, dict[str, Any] | None] = {
    "plain loop, float32": None,
    "train, float32": {"dtype": "float32"},
    "train, bfloat16": {"dtype": "bfloat16"},
    "train, bfloat16, frozen": {**FROZEN, "feature_cache_gb": 0.0},
    "train, bfloat16, frozen, cached": FROZEN,
}
COMPILED = "train, bfloat16, compiled"


def config_of(folder: Path, shape: Shape, **settings: Any) -> Any:
    """Return the settings of a run on two batches, read again and again."""
    from synthenticity.config import Config

    return Config(
        dataset="char_diffusion",
        corpus=str(folder / "corpus"),
        data_dir=str(folder / "data"),
        split_by="balanced",
        model_mode="language_model",
        init_from_checkpoint=str(folder / "model"),
        block_size=shape.length,
        batch_size=shape.batch,
        batches_per_file=1,
        val_files=1,
        mask_probability_range=(0.15, 0.15),
        max_iters=100_000,
        eval_interval=100_000,
        save_interval=100_000,
        report_to="none",
        **settings,
    )


def make(folder: Path, shape: Shape) -> None:
    """Make text, batches and a new model."""
    import numpy as np

    from synthenticity.providers.prepare import prepare
    from synthenticity.text.tokenization import load_tokenizer

    rng = np.random.default_rng(0)
    (folder / "corpus").mkdir()
    for number in range(16):
        text = "".join(rng.choice(CHARACTERS, 20_000))
        (folder / "corpus" / f"{number}.txt").write_text(text, encoding="utf-8")
    config = dataclasses.replace(config_of(folder, shape), init_from_checkpoint=None)
    prepare(config, files=2)
    tokenizer = load_tokenizer(folder / "data" / "tokenizer")
    new_model(config, shape, tokenizer).save_pretrained(folder / "model")
    tokenizer.save_pretrained(str(folder / "model"))


def new_model(config: Any, shape: Shape, tokenizer: Any) -> Any:
    """Return a model with random weights."""
    import torch
    from transformers import BertConfig, BertForMaskedLM

    from synthenticity.training.model import build_language_model

    torch.manual_seed(0)
    if shape.vocabulary is None:
        return build_language_model(config, tokenizer)
    return BertForMaskedLM(
        BertConfig(
            vocab_size=max(shape.vocabulary, len(tokenizer)),
            hidden_size=384,
            num_hidden_layers=6,
            num_attention_heads=12,
            intermediate_size=1536,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def turns() -> Iterator[None]:
    """Yield when it is this process's turn; tell how long what the caller did then took."""
    while sys.stdin.readline():
        start = time.perf_counter()
        yield
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
        said = {"seconds": seconds, "peak": peak / 2**10, "now": pages * PAGE / 2**20}
        print(json.dumps(said), flush=True)


def plain_steps(folder: Path, shape: Shape) -> None:
    """Train as one does by hand: the model's own loss over the whole vocabulary everywhere."""
    import torch
    from transformers import AutoModelForMaskedLM

    from synthenticity.stream.dataset_consumer import DatasetConsumer

    model = AutoModelForMaskedLM.from_pretrained(folder / "model").train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    consumer = DatasetConsumer(
        folder / "data", batch_size=shape.batch, columns=["input_ids", "labels"], seed=0
    )
    for _ in turns():
        batch = {
            name: values.long() for name, values in consumer.batch_at(consumer.position).items()
        }
        consumer.position += shape.batch
        model(input_ids=batch["input_ids"], labels=batch["labels"]).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def our_steps(folder: Path, shape: Shape, name: str) -> None:
    """Train by `train`; a callback waits for its turn between two steps."""
    from transformers import TrainerCallback

    from synthenticity.training import train as command
    from synthenticity.training.stream_trainer import StreamTrainer

    gate = turns()

    class InTurns(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_args: Any, **_kwargs: Any) -> None:
            if next(gate, gate) is gate:
                os._exit(0)

        def on_train_begin(self, *_args: Any, model: Any = None, **_kwargs: Any) -> None:
            if name == COMPILED:
                model.base_model.compile()
            self.on_step_end()

    class GatedTrainer(StreamTrainer):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.add_callback(InTurns())

    command.StreamTrainer = GatedTrainer  # type: ignore[misc]
    settings = {"dtype": "bfloat16"} if name == COMPILED else VARIANTS[name]
    command.train(config_of(folder, shape, **(settings or {})), folder / name.replace(" ", "_"))


class Variant:
    """A process that takes a step when it is told to."""

    def __init__(self, name: str, shape: str, folder: Path) -> None:
        self.name = name
        self.seconds: list[float] = []
        self.peak = self.now = 0.0
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--variant", name, "--shape", shape, "--at", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE"},
        )

    def step(self) -> None:
        """Take a step, and note what it cost."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        said = json.loads(self.process.stdout.readline())
        self.seconds.append(said["seconds"])
        self.peak, self.now = said["peak"], said["now"]

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


def measure(name: str, rounds: int, compiled: bool) -> list[dict[str, Any]]:
    """Return the rows of a shape."""
    shape = SHAPES[name]
    names = [*VARIANTS, *([COMPILED] if compiled else [])]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make(folder, shape)
        variants = [Variant(variant, name, folder) for variant in names]
        try:
            for _ in range(WARM_UP + rounds):
                for variant in variants:
                    variant.step()
        finally:
            for variant in variants:
                variant.close()
    plain = variants[0].seconds[WARM_UP:]
    return [
        {
            "shape": name,
            "variant": variant.name,
            "first step, s": round(variant.seconds[0], 2),
            "step, s": round(statistics.median(times := variant.seconds[WARM_UP:]), 3),
            "tokens/s": round(shape.batch * shape.length / statistics.median(times)),
            "times plain": round(
                statistics.median(p / t for p, t in zip(plain, times, strict=True)), 2
            ),
            "peak MB": round(variant.peak),
        }
        for variant in variants
    ]


def measure_growth() -> list[dict[str, Any]]:
    """Return the memory of the demo's model at two steps of a run."""
    late = max(GROWTH_STEPS)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        make(Path(temporary), SHAPES["demo"])
        for name in VARIANTS:
            variant = Variant(name, "demo", Path(temporary))
            memory = []
            try:
                for _ in range(late):
                    variant.step()
                    memory.append(variant.now)
            finally:
                variant.close()
            row = {f"MB at step {step}": round(memory[step - 1], 1) for step in GROWTH_STEPS}
            rows.append({"variant": name, **row})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shapes", default="S,M,demo")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--no-compiled", action="store_true")
    parser.add_argument("--no-growth", action="store_true")
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    parser.add_argument("--shape", help=argparse.SUPPRESS)
    parser.add_argument("--at", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.variant:
        shape = SHAPES[given.shape]
        if VARIANTS.get(given.variant, {}) is None:
            plain_steps(given.at, shape)
        else:
            our_steps(given.at, shape, given.variant)
        return
    rows = [
        row
        for shape in given.shapes.split(",")
        for row in measure(shape, given.rounds, not given.no_compiled)
    ]
    record.write(
        "train",
        title="A training step",
        command="python benchmarks/train.py",
        about="A step of masked language modelling, from the end of the one before to its end: S "
        "is a BERT of 6 layers of 384 (vocabulary of 98, 64 sequences of 256), M the same with a "
        "vocabulary of 30,522 (32 of 128), `demo` the demo's model (4 of 256); 15 % masked, no "
        "dropout. The plain loop is plain torch: "
        "the model's own loss, AdamW, clipping. Every variant is a process of its own, they take "
        f"steps in turns; medians of {given.rounds} after {WARM_UP}, ratios of steps in one turn. "
        "Compiling pays back after first step / saved per step iterations.",
        rows=rows,
    )
    if not given.no_growth:
        record.write(
            "train_memory",
            title="Memory while training",
            command="python benchmarks/train.py",
            about="Resident memory of processes that train the demo's model. Cached are the "
            "features of two batches.",
            rows=measure_growth(),
        )


if __name__ == "__main__":
    main()
