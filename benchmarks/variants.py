"""What each part of the scorer brings: scorers that differ from the demo's as their names say.

    synthenticity demo
    python benchmarks/variants.py demo [--folder OUT]

Each is trained on as many windows for as many iterations as the demo's scorer, and tested on the
demo's held-out plays. With --folder, run again, it goes on where it was.
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import record

from synthenticity.config import Config
from synthenticity.config_file import load_config
from synthenticity.evaluation.predictions import predict
from synthenticity.providers.prepare import prepare
from synthenticity.stream.batch_queue import BatchQueue
from synthenticity.stream.dataset_consumer import DatasetConsumer
from synthenticity.training.model import load_scorer
from synthenticity.training.train import train

MLM = "the demo's MLM"
VARIANTS: dict[str, dict[str, Any]] = {
    "the demo's scorer": {},
    "without n-grams": {"ngram_sizes": ()},
    "a fourth of the n-grams left out": {"ngram_dropout": 0.25},
    "likelihoods of the MLM, 4 readings": {"likelihood_model": MLM},
    "the same, without n-grams": {"likelihood_model": MLM, "ngram_sizes": ()},
    "loss of the ratio: absolute": {"ratio_loss": "absolute", "ratio_weight": 0.7},
    "loss of the ratio: cross-entropy": {"ratio_loss": "cross_entropy", "ratio_weight": 0.7},
    "loss of the tokens alone": {"ratio_weight": 0.0},
    '`head = "cls"`, nothing frozen, lr 1e-3, no n-grams': {
        "head": "cls",
        "learning_rate": 1e-3,
        "ngram_sizes": (),
    },
    "not started from the MLM": {"init_from_checkpoint": None},
    "trained on ratios 0.1-0.7 only": {"untouched_share": 0.0, "all_filled_share": 0.0},
}


def trained(config: Config, changes: dict[str, Any], files: int, folder: Path) -> Path:
    """Train one variant, on data of its own where the masking differs; return its run."""
    if changes.get("likelihood_model") == MLM:
        changes = {**changes, "likelihood_model": config.mlm_checkpoint_path}
    config = dataclasses.replace(config, **changes)
    if "untouched_share" in changes:
        config = dataclasses.replace(config, data_dir=str(folder / "data"))
        for count, split in ((files, "train"), (1, "val")):
            prepare(config, files=count, splits=(split,))
    return train(config, folder / "run").out_dir


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path, help="folder of a finished demo")
    parser.add_argument("--folder", type=Path, help="where the scorers are kept")
    options = parser.parse_args()
    config = load_config(options.demo / "scorer.toml")
    columns = ["input_ids", "token_labels", "synthenticity"]
    test = DatasetConsumer(config.data_dir, batch_size=1, split="test", columns=columns).read_all()
    ratio = test["synthenticity"]
    parts = {"graded": (ratio > 0.0999) & (ratio < 0.7001), "human": ratio == 0}
    files = len(BatchQueue(config.data_dir).numbers("train"))
    rows = []
    for number, (name, changes) in enumerate(VARIANTS.items()):
        with tempfile.TemporaryDirectory() as passing:
            folder = Path(passing) if options.folder is None else options.folder / f"{number:02d}"
            run = trained(config, changes, files, folder) if changes else options.demo / "scorer"
            model = load_scorer(run)
        chosen = {
            part: {key: values[rows_of] for key, values in test.items()}
            for part, rows_of in parts.items()
        }
        figures = predict(model, chosen["graded"]).metrics(chosen["graded"])
        human = predict(model, chosen["human"]).ratios.mean()
        auroc = figures.get("token_auroc_filled_within")
        rows.append(
            {
                "scorer": name,
                "MAE": f"{figures['mae']:.3f}",
                "Pearson r": f"{figures['pearson']:.3f}",
                "token AUROC within": f"{auroc:.3f}" if auroc is not None else "",
                "untouched text scores": f"{human:.3f}",
            }
        )
    record.write(
        "variants",
        title="What each part of the scorer brings",
        command="python benchmarks/variants.py demo",
        about=f"{config.max_iters} iterations of {config.batch_size} windows each, one seed; "
        f"tested on {int(parts['graded'].sum())} held-out windows with ratios 0.1-0.7 and "
        f"{int(parts['human'].sum())} untouched ones.",
        rows=rows,
    )


if __name__ == "__main__":
    main()
