"""A scorer on text whose limit is known exactly: how much of what can be known it learns.

    python benchmarks/markov_testbed.py OUT

Text of a Markov chain, filled by the chain itself, which is the perfect filling model; the best
possible scorer is computed from the chain (`evaluation.limits`). A scorer that beat it would have
seen the answers. Run again, it goes on where it was.
"""

import argparse
from pathlib import Path

import record
from scorer_recipe import row
from stages import Stages

from synthenticity.config import Config
from synthenticity.config_file import write_config
from synthenticity.evaluation.evaluate import evaluate

FILES, TEST_FILES, ITERATIONS = 12, 1, 1500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    stages = Stages(out)
    config = Config(
        dataset="markov",
        data_dir=str(out / "data"),
        block_size=257,
        batch_size=16,
        batches_per_file=50,
        val_files=1,
        dtype="float32",
        learning_rate=2e-3,
        warmup_iters=100,
        max_iters=ITERATIONS,
        eval_interval=1000,
    )
    path = out / "markov.toml"
    write_config(config, path)
    for split, files in (("train", FILES), ("val", 1), ("test", TEST_FILES)):
        stages.run(f"data {split}", "prepare", path, "--files", files, "--splits", split)
    stages.run("scorer", "train", path, "--out_dir", out / "scorer")
    found = evaluate([out / "scorer"], [out / "data"]).to_json()
    (judged,) = found["rows"]
    systems = judged["systems"]
    mean, scorer, limit = (
        systems[name]["figures"]["mae"]
        for name in ("predict the mean", "scorer", "the limit (Bayes)")
    )
    record.write(
        "markov_testbed",
        title="A scorer beside the exact limit",
        command="python benchmarks/markov_testbed.py OUT",
        about=f"{judged['sequences']} texts of 256 characters of a Markov chain with the "
        "neighbours of Shakespeare's characters, ratios 0.1-0.7, filled by the chain. The scorer, "
        f"from scratch on {FILES * config.batch_size * config.batches_per_file:,} texts, closes "
        f"{(mean - scorer) / (mean - limit):.0%} of the gap between predicting the mean and the "
        "limit. 95 % intervals over texts.",
        rows=[row(name, system) for name, system in systems.items()],
    )


if __name__ == "__main__":
    main()
