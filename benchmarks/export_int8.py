"""What 8 bits change of a scorer in ONNX: ours, fixed scales, and scales of the whole batch.

Says, of the windows of a test split, how far synthenticity and token probabilities are from those
in PyTorch, how far a text alone is from the same text in a batch, how large the file is, and how
fast: ONNX Runtime and the forward of `Scorer` read the same windows in turns, on as many threads.

    python benchmarks/export_int8.py DEMO [SUBWORD_RUN SUBWORD_DATA]     (needs the extra onnx)

DEMO is the folder of a finished demo.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import record
import torch
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

from synthenticity.scoring.forward import fast_scorer
from synthenticity.scoring.onnx_export import export_onnx
from synthenticity.stream.dataset_consumer import DatasetConsumer
from synthenticity.training.model import load_scorer

ROWS = 16
SCORER = "Scorer"
ROUNDS, TIMED = 9, 32
"""Of the speed: each way reads so many windows in each round."""
Windows = dict[str, np.ndarray]
WINDOWS = {"characters": 400, "sub-word": 128}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path)
    parser.add_argument("subword", type=Path, nargs="*", help="run and data of a sub-word scorer")
    options = parser.parse_args()
    places = {"characters": (options.demo / "scorer", options.demo / "scorer_data")}
    if options.subword:
        places["sub-word"] = tuple(options.subword)
    rows = [
        {"tokens are": name, **row}
        for name, (run, data) in places.items()
        for row in compared(str(run), str(data), WINDOWS[name])
    ]
    record.write(
        "export_int8",
        title="A scorer in ONNX, in 8 bits",
        command="python benchmarks/export_int8.py DEMO SUBWORD_RUN SUBWORD_DATA",
        about="How far a scorer in ONNX Runtime is from itself in PyTorch, mean and largest, on "
        f"{WINDOWS['characters']} windows of held-out plays and {WINDOWS['sub-word']} of held-out "
        "documents; how far a text alone is from itself in a batch of 16; the error of the ratio "
        "against the truth. `int8` is what export writes; the two below it are ONNX Runtime's own "
        "ways. Speed: windows a second in batches of 16, and the median ratio to float32 in ONNX "
        "Runtime and to the forward of `Scorer` (PyTorch, float32), which took turns with it.",
        rows=rows,
    )


def compared(run: str, data: str, windows: int) -> list[dict[str, str]]:
    """Return what each way of 8 bits changes."""
    test, val = (read(data, split, run)[0] for split in ("test", "val"))
    test = {name: rows[:windows] for name, rows in test.items()}
    true = read(data, "test", run)[1][:windows]
    expected = said_by_torch(run, test)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        export_onnx(run, folder / "float32")
        export_onnx(run, folder / "int8", int8=True)
        exact = folder / "float32" / "model.onnx"
        others = alternatives(exact, folder, {name: rows[:128] for name, rows in val.items()})
        paths = {"float32": exact, "int8": folder / "int8" / "model.onnx", **others}
        fast = speeds(run, paths, {name: rows[:TIMED] for name, rows in test.items()})
        return [row(name, path, test, expected, true) | fast[name] for name, path in paths.items()]


def speeds(run: str, paths: dict[str, Path], windows: Windows) -> dict[str, dict[str, str]]:
    """Return how fast each file is read, in turns with the others and with `Scorer`."""
    ways: dict[str, Callable[[], None]] = {
        name: reader(path, windows) for name, path in paths.items()
    }
    ways[SCORER] = torch_reader(run, windows)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(1 + ROUNDS):
        for name, read_all in ways.items():
            begun = time.perf_counter()
            read_all()
            if number:  # the first round warms up
                seconds[name].append(time.perf_counter() - begun)
    times = {name: np.array(each) for name, each in seconds.items()}
    return {
        name: {
            "windows/s": f"{len(windows['input_ids']) / np.median(times[name]):.1f}",
            "speed, of float32's": f"{np.median(times['float32'] / times[name]):.2f}",
            "of Scorer's": f"{np.median(times[SCORER] / times[name]):.2f}",
        }
        for name in paths
    }


def reader(path: Path, windows: Windows) -> Callable[[], None]:
    session = session_of(path)

    def read_all() -> None:
        for batch in batches(windows):
            session.run(None, batch)

    return read_all


def torch_reader(run: str, windows: Windows) -> Callable[[], None]:
    scorer = fast_scorer(load_scorer(run), torch.device("cpu"), torch.float32)

    @torch.inference_mode()
    def read_all() -> None:
        for batch in batches(windows):
            scorer(*(torch.from_numpy(rows) for rows in batch.values()))

    return read_all


def session_of(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def read(data: str, split: str, run: str) -> tuple[Windows, np.ndarray]:
    columns = ["input_ids", "synthenticity"]
    found = DatasetConsumer(data, batch_size=1, split=split, columns=columns).read_all()
    ids = found["input_ids"].astype(np.int64)
    visible = (ids != load_scorer(run).config.encoder["pad_token_id"]).astype(np.int64)
    return {"input_ids": ids, "attention_mask": visible}, found["synthenticity"]


def batches(windows: Windows) -> Iterator[Windows]:
    for start in range(0, len(windows["input_ids"]), ROWS):
        yield {name: rows[start : start + ROWS] for name, rows in windows.items()}


@torch.no_grad()
def said_by_torch(run: str, windows: Windows) -> list[np.ndarray]:
    scorer = load_scorer(run)
    said = [
        scorer(*(torch.from_numpy(rows) for rows in batch.values())) for batch in batches(windows)
    ]
    return [
        np.concatenate([each.synthenticity.numpy() for each in said]),
        np.concatenate([each.token_logits.sigmoid().numpy() for each in said]),
    ]


def said_by_onnx(path: Path, windows: Windows) -> list[np.ndarray]:
    session = session_of(path)
    said = [session.run(["synthenticity", "token_logits"], batch) for batch in batches(windows)]
    ratios, logits = (np.concatenate(each) for each in zip(*said, strict=True))
    return [ratios, 1 / (1 + np.exp(-logits))]


class Calibration(quantization.CalibrationDataReader):
    def __init__(self, windows: Windows) -> None:
        self.left = batches(windows)

    def get_next(self) -> Any:
        return next(self.left, None)


def alternatives(exact: Path, folder: Path, val: Windows) -> dict[str, Path]:
    """Quantize as ONNX Runtime's own functions do."""
    ready, fixed, dynamic = (folder / f"{name}.onnx" for name in ("ready", "fixed", "dynamic"))
    quant_pre_process(str(exact), str(ready), skip_symbolic_shape=True)
    alike = {"per_channel": True, "extra_options": {"MatMulConstBOnly": True}}
    alike["weight_type"] = quantization.QuantType.QInt8
    quantization.quantize_static(
        ready, fixed, Calibration(val), op_types_to_quantize=["MatMul", "Gemm", "Gather"], **alike
    )
    quantization.quantize_dynamic(ready, dynamic, op_types_to_quantize=["MatMul", "Gemm"], **alike)
    return {"fixed scales": fixed, "scales of the batch": dynamic}


def row(
    name: str, path: Path, test: Windows, expected: list[np.ndarray], true: np.ndarray
) -> dict[str, str]:
    found = said_by_onnx(path, test)
    ratios = np.abs(found[0] - expected[0])
    tokens = np.abs(found[1] - expected[1])[test["attention_mask"] == 1]
    first = [
        said_by_onnx(path, {key: rows[n : n + 1] for key, rows in test.items()})[0]
        for n in range(ROWS)
    ]
    alone = np.abs(np.concatenate(first) - found[0][:ROWS]).max()
    return {
        "arithmetic": name,
        "synthenticity, mean": f"{ratios.mean():.1e}",
        "largest": f"{ratios.max():.1e}",
        "tokens, mean": f"{tokens.mean():.1e}",
        "largest of them": f"{tokens.max():.1e}",
        "alone": f"{alone:.1e}",
        "MAE": f"{np.abs(found[0] - true).mean():.4f}",
        "MB": f"{path.stat().st_size / 1e6:.1f}",
    }


if __name__ == "__main__":
    main()
