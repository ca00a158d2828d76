"""How much memory and time does a corpus of a gigabyte take before the first batch?

A corpus of JSON lines is made in the temporary folder (words of a vocabulary of Zipf's
frequencies, about 2 kB a document, a tenth of them near-duplicates), and `synthenticity prepare`
makes one file of training data of it in a process of its own, whose largest resident memory is
what the system says of an ended child. Beside it, the same of a process that only imports.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import record

WORDS, WORDS_A_DOCUMENT, DOCUMENTS_AT_ONCE = 50_000, 320, 1000
REPEATED_SHARE = 0.1
SETTINGS = """
dataset = "char_diffusion"
model_mode = "language_model"
block_size = 256
batch_size = 8
batches_per_file = 50
"""
IMPORTS = "import torch, transformers, pyarrow.parquet, synthenticity.providers.char_diffusion"


def make_corpus(path: Path, size: int) -> int:
    """Write JSON lines of at least `size` bytes, and return how many documents they are."""
    rng = np.random.default_rng(0)
    letters = rng.choice(list("etaoinshrdlucmfwypvbgk"), size=(WORDS, 10))
    lengths = rng.integers(2, 10, size=WORDS)
    words = np.array(["".join(row[:n]) for row, n in zip(letters, lengths, strict=True)])
    shares = 1 / np.arange(1, WORDS + 1)
    written = documents = 0
    with path.open("w", encoding="utf-8") as file:
        earlier = words[:WORDS_A_DOCUMENT]
        while written < size:
            drawn = rng.choice(
                WORDS, (DOCUMENTS_AT_ONCE, WORDS_A_DOCUMENT), p=shares / shares.sum()
            )
            for row in words[drawn]:
                if rng.random() < REPEATED_SHARE:
                    row[: WORDS_A_DOCUMENT // 2] = earlier[: WORDS_A_DOCUMENT // 2]
                earlier = row
                written += file.write(json.dumps({"text": " ".join(row)}) + "\n")
                documents += 1
    return documents


def measure(command: list[str]) -> tuple[float, float]:
    """Run a command, and return its seconds and its largest resident memory in megabytes."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(said.decode())
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def row(what: str, measured: tuple[float, float], megabytes: float) -> dict[str, object]:
    """Return a line of the table."""
    seconds, memory = measured
    return {
        "process": what,
        "peak memory, MB": round(memory),
        "seconds": round(seconds, 1),
        "MB of corpus a second": round(megabytes / seconds, 1) if megabytes else "",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the corpus")
    megabytes = parser.parse_args().megabytes
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.jsonl"
        documents = make_corpus(corpus, megabytes * 10**6)
        settings = Path(folder) / "tiny.toml"
        settings.write_text(SETTINGS, encoding="utf-8")
        prepare = [
            *(sys.executable, "-m", "synthenticity", "prepare", str(settings)),
            *("--files", "1", "--splits", "train", "--corpus", str(corpus)),
        ]
        rows = [
            row("imports alone", measure([sys.executable, "-c", IMPORTS]), 0),
            row(
                "prepare",
                measure([*prepare, "--out-dir", f"{folder}/a"]),
                megabytes,
            ),
            row(
                "prepare, near_duplicates = 0",
                measure([*prepare, "--near_duplicates=0", "--out-dir", f"{folder}/b"]),
                megabytes,
            ),
        ]
    record.write(
        "large_corpus",
        title="A large corpus",
        command="python benchmarks/large_corpus.py",
        about=f"`synthenticity prepare --files 1` on JSON lines of {megabytes:,} MB "
        f"({documents:,} documents, a tenth of them half a copy of the one before), character "
        "tokens; the time is that of the whole process, the largest resident memory that of the "
        "system's accounts.",
        rows=rows,
    )


if __name__ == "__main__":
    main()
