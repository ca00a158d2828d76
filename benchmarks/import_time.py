"""How long until something happens: imports, help, and the first filled token.

    python benchmarks/import_time.py

Each row is a whole process, from start to end, with the files in the page cache; all in turns.
The first filled token is that of a short text with one mask in three, by the shape M of
benchmarks/fill_shapes.py: `synthenticity fill` in its default settings, and the `fill-mask`
pipeline of transformers.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import record
from fill_shapes import SHAPES, save_model

ROUNDS = 7
TORCH = "import torch"
OUT = "out.jsonl"
WORDS = [f"w{number}" for number in range(100, 124)]


def commands(folder: Path) -> dict[str, list[str]]:
    """Return what is run, by name."""
    ours = [sys.executable, "-m", "synthenticity"]
    masked = " ".join("[MASK]" if place % 3 == 0 else word for place, word in enumerate(WORDS))
    pipeline = (
        "from transformers import pipeline; "
        f"print(pipeline('fill-mask', {str(folder)!r})({masked!r})[0])"
    )
    text = folder / "text.jsonl"
    text.write_text(json.dumps({"text": " ".join(WORDS)}) + "\n", encoding="utf-8")
    fill = [*ours, "fill", str(text), "--model", str(folder), "--ratio", "0.33"]
    fill += ["--out", OUT]

    def python(code: str) -> list[str]:
        return [sys.executable, "-c", code]

    return {
        "python alone": python("pass"),
        "`import synthenticity`": python("import synthenticity"),
        "`synthenticity --help`": [*ours, "--help"],
        "`synthenticity fill --help`": [*ours, "fill", "--help"],
        f"`{TORCH}`": python(TORCH),
        "`import transformers`": python("import transformers"),
        "`from transformers import AutoModelForMaskedLM`": python(
            "from transformers import AutoModelForMaskedLM"
        ),
        "first filled token: `synthenticity fill`": fill,
        "first filled token: `fill-mask` pipeline": python(pipeline),
    }


def seconds(command: list[str], folder: Path) -> float:
    """Return the time of a process."""
    (folder / OUT).unlink(missing_ok=True)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    start = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    took = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr}")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as place:
        folder = save_model(SHAPES["M"], Path(place))
        work = commands(folder)
        times: dict[str, list[float]] = {name: [] for name in work}
        for number in range(rounds + 1):  # the first brings the files into the page cache
            for name in work if number % 2 else reversed(work):
                took = seconds(work[name], folder)
                if number:
                    times[name].append(took)
                print(f"{name}: {took:.2f}", file=sys.stderr, flush=True)
    torch_times = times[f"`{TORCH}`"]
    rows = [
        {
            "a process": name,
            "seconds": f"{statistics.median(own):.2f}",
            "range": f"{min(own):.2f} to {max(own):.2f}",
            f"/ `{TORCH}`": f"{ratio(own, torch_times):.2f}",
        }
        for name, own in times.items()
    ]
    record.write(
        "import_time",
        title="Until something happens",
        command="python benchmarks/import_time.py",
        about=(
            f"Whole processes in turns, medians of {rounds} rounds, files in the page cache. "
            f"{SHAPES['M'].words}, random weights; a text of {len(WORDS)} words, a third masked."
        ),
        rows=rows,
    )


def ratio(these: list[float], others: list[float]) -> float:
    """Return the median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(these, others, strict=True))


if __name__ == "__main__":
    main()
