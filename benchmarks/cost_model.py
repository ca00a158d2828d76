"""What would 10^12 tokens take? Arithmetic, from what was measured here and from data sheets.

    python benchmarks/cost_model.py

Nothing is measured: figures of processors come from the JSONs beside this script, figures of GPUs
are a data sheet's peak times a share that is assumed. tests/test_benchmarks.py compares what is
written with what these give today.
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
BYTES_A_TOKEN = 337_538 / (400 * 128)
"""Of a batch file of configs/subword_scorer.toml, 400 sequences of 128 sub-word tokens; two thirds
are the texts, as they were and as they became."""
COMMITS = {"1.3 ms": 1.345e-3, "12 ms": 12e-3}
"""Seconds of write, flush, link, flush: benchmarks/data_plane.json, and a slower disk before it."""
VERIFY_A_TOKEN = 4.85e-3 / (800 * 257)
"""Seconds to read and verify, benchmarks/data_plane.json."""
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
FILES = (800, 20_000, 400_000)


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
    return [
        {
            "sequences a file": f"{rows:,}",
            "MB a file": f"{rows * 128 * BYTES_A_TOKEN / 1e6:,.1f}",
            "files": f"{TOKENS / (rows * 128):,.0f}",
            f"files/s, {DAYS} days": f"{TOKENS / (rows * 128) / DAYS / DAY:.2g}",
            **{
                f"tokens/s of one owner, {name} a commit": f"{rows * 128 / seconds:.1e}"
                for name, seconds in COMMITS.items()
            },
            "requests to make it": f"{REQUESTS_A_FILE * TOKENS / (rows * 128):,.0f}",
            "requests to list it": f"{-(-TOKENS // (rows * 128 * NAMES_A_LISTING)):,}",
            "MB of names": f"{TOKENS / (rows * 128) * len('train-00000000.parquet') / 1e6:,.1f}",
        }
        for rows in FILES
    ]


def main() -> None:
    record.write(
        "cost_model",
        title="What 10^12 tokens would take",
        command="python benchmarks/cost_model.py",
        about=f"Arithmetic, no measurement of such a run. Processors as measured here; an H100 at "
        f"{USED:.0%} of the {H100_PEAK / 1e12:.0f} TFLOP/s of its data sheet (bfloat16, dense), "
        "which is assumed; a step of training is three forwards; sequences of 128 tokens, half of "
        f"them written; a scored token is read {read_times():.2f} times. The cores are those that "
        "keep one GPU busy: to draw, mask and label takes "
        f"{host_seconds() * 1e6:.1f} microseconds a token (benchmarks/prepare.json), to tokenize "
        f"{tokenization_seconds() * 1e6:.1f} (benchmarks/score.json).",
        rows=compute(),
    )
    record.write(
        "cost_model_files",
        title="The files of 10^12 tokens",
        command="python benchmarks/cost_model.py",
        about=f"Arithmetic. {BYTES_A_TOKEN:.1f} bytes a token (a measured file of sub-word scorer "
        f"data, texts included): {TOKENS * BYTES_A_TOKEN / 1e12:.1f} TB in all. To read and verify "
        f"it once in one process takes {TOKENS * VERIFY_A_TOKEN / 3600:.1f} hours, if the disk is "
        "as fast as the memory that was measured. Requests are those of a set on an object store.",
        rows=files(),
    )


if __name__ == "__main__":
    main()
