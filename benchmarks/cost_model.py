"""What would 10^12 tokens take? Arithmetic, from what was measured here and from data sheets.

    python benchmarks/cost_model.py

Nothing is measured: figures of processors and disks come from the JSONs beside this script, figures
of GPUs are a data sheet's peak times a share that is assumed. tests/test_benchmarks.py compares
what is written with what these give today.
"""

import json
from pathlib import Path
from typing import Any

import record
from fill_shapes import BASE, SHAPES, Shape

HERE = Path(__file__).parent
TOKENS = 10**12
DAYS = 30
DAY = 86_400
H100_PEAK = 989e12
"""Operations a second in bfloat16 without sparsity, NVIDIA's data sheet of the H100 SXM."""
USED = 0.3
"""Of that peak: assumed. Encoders of these sizes reach 38 to 63 % of their ceiling on processors
(benchmarks/fill.json)."""
RATIO = 0.5
"""Of the tokens that are written: the head is needed at those."""
SLOW_FLUSH, SLOW_BYTES = 12e-3, 200e6
"""Seconds of the flushes of a commit, and bytes a second, of a slow disk: assumed."""
REQUESTS_A_FILE = 3
"""Of an object store: PUT, HEAD, GET (docs/object_stores.md)."""
NAMES_A_LISTING = 1000
"""What S3 and most others answer at once."""
LARGE = Shape(
    "24 layers of 1,024",
    {**BASE, "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
    | {"vocab_size": 30_522},
    128,
    rows=32,
    rounds=3,
)
MODELS = {"6 layers of 384": SHAPES["M"], "12 layers of 768": SHAPES["L"], LARGE.name: LARGE}


def figures(name: str) -> list[dict[str, Any]]:
    """Return the rows of a measurement."""
    content = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    rows: list[dict[str, Any]] = content["rows"]
    return rows


def number(said: str | int) -> float:
    """Return a figure of a table; of '8,304 (a to b)', the first."""
    return float(str(said).replace(",", "").replace("%", "").strip("*").split()[0])


def on_processor(shape: str) -> float:
    """Return the measured tokens/s of filling half the tokens, PyTorch in bfloat16."""
    (row,) = (
        row
        for row in figures("fill")
        if (row["shape"], row["way"], row["dtype"]) == (shape, "synthenticity, torch", "bfloat16")
    )
    return number(row["50 %: tokens/s"])


def on_gpu(shape: Shape, *, times: float = 1.0, head: bool = False) -> float:
    """Return the tokens/s of a GPU, if it does so many forwards' work a token."""
    width = shape.config["hidden_size"]
    per_masked = 2 * width * (width + shape.config["vocab_size"]) if head else 0
    return USED * H100_PEAK / (times * (shape.operations_a_token + RATIO * per_masked))


def host_seconds() -> float:
    """Return what a token of `prepare` takes of a processor beside the model, sub-words."""
    (row,) = (row for row in figures("prepare") if row["shape"].startswith("M, 50%"))
    share = sum(number(row[step]) for step in ("draw and mask", "label", "encode", "commit")) / 100
    return share / (number(row["filled tokens/s of prepare"]) / RATIO)


def tokenization_seconds() -> float:
    """Return what a token takes of a processor to be tokenized; two were at it."""
    (row,) = (row for row in figures("score") if row["what"] == "tokenization alone")
    return 2 / number(row["tokens scored/s"])


def read_times() -> float:
    """Return how often a token of the measured texts is read, as windows overlap."""
    (row,) = (row for row in figures("score") if row["what"] == "Scorer, bfloat16")
    return number(row["tokens read/s"]) / number(row["tokens scored/s"])


def compute() -> list[dict[str, Any]]:
    """Return what each step takes of devices."""
    (scored,) = (row for row in figures("score") if row["what"] == "Scorer, bfloat16")
    measured = [
        ("prepare", "6 layers of 384", on_processor("M")),
        ("prepare", "12 layers of 768", on_processor("L")),
        ("score", "6 layers of 384", number(scored["tokens scored/s"])),
    ]
    cores = "2 logical cores, measured"
    cases = [(step, model, cores, rate, None) for step, model, rate in measured]
    gpu = "H100, estimate"
    for model, shape in MODELS.items():
        cases += [
            ("prepare", model, gpu, on_gpu(shape, head=True), host_seconds()),
            ("train, once", model, gpu, on_gpu(shape, times=3), None),
            ("score", model, gpu, on_gpu(shape, times=read_times()), tokenization_seconds()),
        ]
    return [
        {
            "step": step,
            "encoder": model,
            "device": device,
            "tokens/s": f"{rate:,.0f}",
            "days of one": f"{TOKENS / rate / DAY:,.1f}",
            f"devices for {DAYS} days": f"{TOKENS / rate / DAY / DAYS:,.1f}",
            "cores beside each": "" if host is None else f"{rate * host:.0f}",
        }
        for step, model, device, rate, host in cases
    ]


def files() -> list[dict[str, Any]]:
    """Return what the files of such a set take, by their size."""
    return [_files_of(row) for row in figures("large_files")]


def _files_of(measured: dict[str, Any]) -> dict[str, Any]:
    rows, size = number(measured["sequences"]), number(measured["MB"]) * 1e6
    tokens = rows * 128
    count = TOKENS / tokens
    commits = {
        "here": number(measured["commit, ms (least to most)"]) / 1000,
        "on a slow disk": SLOW_FLUSH + size / SLOW_BYTES,
    }
    verified = count * number(measured["read and verify, ms (least to most)"]) / 1000
    return {
        "sequences a file": measured["sequences"],
        "MB a file": f"{size / 1e6:,.1f}",
        "files": f"{count:,.0f}",
        f"files/s, {DAYS} days": f"{count / DAYS / DAY:.2g}",
        **{f"tokens/s of one owner, {disk}": f"{tokens / s:.1e}" for disk, s in commits.items()},
        "hours to read and verify": f"{verified / 3600:.1f}",
        "requests to make it": f"{REQUESTS_A_FILE * count:,.0f}",
        "requests to list it": f"{-(-count // NAMES_A_LISTING):,.0f}",
        "MB of names": f"{count * len('train-00000000.parquet') / 1e6:,.1f}",
    }


def terabytes() -> float:
    """Return what such a set takes."""
    large = figures("large_files")[-1]
    return TOKENS * number(large["bytes a token"]) / 1e12


def main() -> None:
    record.write(
        "cost_model",
        title="What 10^12 tokens would take",
        command="python benchmarks/cost_model.py",
        about=f"Arithmetic, no measurement of such a run. Processors as measured here; an H100 at "
        f"{USED:.0%} of the {H100_PEAK / 1e12:.0f} TFLOP/s of its data sheet (bfloat16, dense), "
        "which is assumed; a step of training is three forwards; sequences of 128 tokens, half of "
        f"them written; a scored token is read {read_times():.2f} times. The cores are those that "
        "keep one GPU busy: to draw, mask, label, encode and commit takes "
        f"{host_seconds() * 1e6:.1f} microseconds a token (benchmarks/prepare.json), to tokenize "
        f"{tokenization_seconds() * 1e6:.1f} (benchmarks/score.json).",
        rows=compute(),
    )
    record.write(
        "cost_model_files",
        title="The files of 10^12 tokens",
        command="python benchmarks/cost_model.py",
        about="Arithmetic, from files of sub-word scorer data, texts included "
        f"(benchmarks/large_files.json): {terabytes():.1f} TB in all. To commit is to write, "
        f"flush, link, flush; a slow disk is assumed to take {SLOW_FLUSH * 1000:.0f} ms and to "
        f"write {SLOW_BYTES / 1e6:.0f} MB/s. One process reads and verifies, from memory. "
        "Requests are those of a set on an object store.",
        rows=files(),
    )


if __name__ == "__main__":
    main()
