"""Does cheaper arithmetic change the data? Predictions, labels, and the scorer trained on them.

Give the folder of a demo (`synthenticity demo --out DIR`), whose models and settings are used, and
optionally further trained MLM checkpoints, for the predictions alone.
"""

import dataclasses
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import record
import torch

from synthenticity.config import Config
from synthenticity.config_file import load_config
from synthenticity.evaluation.predictions import predict
from synthenticity.providers.prepare import prepare
from synthenticity.runtimes.opening import open_runtime
from synthenticity.runtimes.torch_runtime import TorchRuntime
from synthenticity.stream.dataset_consumer import DatasetConsumer
from synthenticity.synthesis.calibration import calibrate, compare, masked_rows, sample_texts
from synthenticity.synthesis.checkpoints import MASKED, find_checkpoint
from synthenticity.text.reading import CorpusSource
from synthenticity.training.model import load_scorer
from synthenticity.training.train import train

CPU = torch.device("cpu")
KINDS = (
    ("torch", "float32"),
    ("torch", "bfloat16"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
    ("openvino", "int8"),
    ("onnx", "float32"),
)
TRIAL = 64
COLUMNS = ("input_ids", "token_labels", "synthenticity", "replaced_fraction", "document")
SEEDS = (1, 2, 3)
RESAMPLINGS = 2000


def prediction_rows(path: str) -> list[dict[str, str]]:
    """Compare every runtime with PyTorch in float32, on rows that no scale was chosen by."""
    found = find_checkpoint(path)
    model = found.load_model(MASKED).eval()
    rows = masked_rows(found.tokenizer, sample_texts(CorpusSource(source="shakespeare")), 256)
    reference = TorchRuntime(model, CPU, "float32")
    lines = []
    for runtime, dtype in KINDS:
        other = open_runtime(model, CPU, dtype, runtime)
        if not other.calibrated:
            calibrate(other, model, rows[TRIAL:], path)
        accuracy = compare(reference, other, rows[:TRIAL])
        lines.append(
            {
                "model": f"{model.config.model_type}, vocabulary {model.config.vocab_size:,}",
                "filled by": f"{runtime} {dtype}",
                "KL to float32, nats": f"{accuracy.divergence:.1e}",
                "draws that change": f"{accuracy.flipped:.2%}",
                "positions": f"{accuracy.positions:,}",
            }
        )
        print(lines[-1], flush=True)
    return lines


def made(config: Config, folder: Path, runtime: str, dtype: str, files: int) -> Config:
    """Make a finite set of scorer data in an arithmetic."""
    own = dataclasses.replace(config, data_dir=str(folder), runtime=runtime, dtype=dtype)
    prepare(own, files=files)
    return dataclasses.replace(config, data_dir=str(folder))


def errors_of(config: Config, folder: Path, test: dict[str, np.ndarray]) -> np.ndarray:
    """Train a scorer for each seed, and return the absolute errors `[seeds, rows]` on a test."""
    errors = []
    for seed in SEEDS:
        out = folder / f"seed-{seed}"
        train(dataclasses.replace(config, seed=seed), out)
        scores = predict(load_scorer(out), test).ratios
        errors.append(np.abs(scores - test["synthenticity"]))
    return np.array(errors)


def data_rows(demo: Path) -> list[dict[str, str]]:
    """Train on data of float32 and of int8, and test both on data of float32."""
    config = load_config(demo / "scorer.toml")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        lines, errors, data = [], {}, {}
        for runtime, dtype in (("torch", "float32"), ("torch", "bfloat16"), ("openvino", "int8")):
            name = f"{runtime} {dtype}"
            own = made(config, folder / dtype, runtime, dtype, files=5)
            data[name] = DatasetConsumer(
                own.data_dir, batch_size=8, split="val", columns=COLUMNS
            ).read_all()
            errors[name] = errors_of(own, folder / f"runs-{dtype}", data["torch float32"])
        for name, own in data.items():
            lines.append(line_of(name, own, data["torch float32"], errors))
    return lines


def line_of(
    name: str,
    own: dict[str, np.ndarray],
    first: dict[str, np.ndarray],
    errors: dict[str, np.ndarray],
) -> dict[str, str]:
    """Compare data and scorers of an arithmetic with those of float32."""
    documents = first["document"]
    difference = (errors[name] - errors["torch float32"]).mean(axis=0)
    low, high = interval(difference, documents)
    other = (own["synthenticity"] != first["synthenticity"]).mean()
    absolute = interval(errors[name].mean(axis=0), documents)
    return {
        "data filled by": name,
        "mean synthenticity": f"{own['synthenticity'].mean():.5f}",
        "sequences of another synthenticity": f"{other:.2%}",
        "mean replaced fraction": f"{own['replaced_fraction'].mean():.5f}",
        "scorer's MAE": f"{errors[name].mean():.4f} [{absolute[0]:.4f}, {absolute[1]:.4f}]",
        "paired difference": f"{difference.mean():+.4f} [{low:+.4f}, {high:+.4f}]",
    }


def interval(values: np.ndarray, documents: np.ndarray) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a mean, over documents."""
    names, index = np.unique(documents, return_inverse=True)
    sums = np.bincount(index, values)
    counts = np.bincount(index)
    chosen = np.random.default_rng(0).integers(len(names), size=(RESAMPLINGS, len(names)))
    means = sums[chosen].sum(axis=1) / counts[chosen].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    demo, *others = sys.argv[1:]
    predictions = [
        line for path in (str(Path(demo) / "mlm"), *others) for line in prediction_rows(path)
    ]
    record.write(
        "quality",
        title="What cheaper arithmetic changes of the predictions",
        command="python benchmarks/quality.py DEMO [MLM ...]",
        about="Trained models, 15 to 50 % masked, windows of Shakespeare's plays that no scale was "
        "chosen by, against PyTorch in float32; draws with the same noise.",
        rows=predictions,
    )
    record.write(
        "quality_of_data",
        title="What cheaper arithmetic changes of the data and of the scorer",
        command="python benchmarks/quality.py DEMO [MLM ...]",
        about=f"The demo's scorer data made in each arithmetic, a scorer trained on each with "
        f"{len(SEEDS)} seeds and the demo's settings, all tested on the held-out windows of "
        "float32; 95 % intervals over documents, the difference paired by window.",
        rows=data_rows(Path(demo)),
    )


if __name__ == "__main__":
    main()
