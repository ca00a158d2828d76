"""Does a reader notice one flipped bit in its data?

Each reader stores the same rows; one bit of its largest file is flipped at a random place, all
rows are read and compared with the truth, 20 times. Readers run in a process of their own, since
damaged files may end it: a new one goes on behind the trial that did, which counts as noticed.

    python benchmarks/data_plane_flips.py READER FOLDER FIRST
"""

import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from data_plane_readers import OURS, PEERS, Reader, biggest, read_all, same

TRIALS, SECONDS = 20, 300
TRUTH, READY = "truth.npz", "ready"
OUTCOMES = ("noticed", "silent", "no effect")


def flip(path: Path, rng: np.random.Generator) -> None:
    """Flip a bit of a file."""
    content = bytearray(path.read_bytes())
    place = int(rng.integers(8 * len(content)))
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)


def outcome(reader: Reader, folder: Path, truth: dict[str, np.ndarray]) -> str:
    """Read a damaged copy, and say what came of it."""
    try:
        found = read_all(reader.batches(folder))
    except Exception:
        return "noticed"
    return "no effect" if same(found, truth) else "silent"


def trials(reader: Reader, folder: Path, first: int) -> None:
    """Print a line for each trial from the first on."""
    truth = dict(np.load(folder.parent / TRUTH))
    if outcome(reader, folder, truth) == "no effect":
        print(READY, flush=True)
    for trial in range(first, TRIALS):
        with tempfile.TemporaryDirectory(dir=folder.parent) as name:
            copy = Path(name) / "copy"
            shutil.copytree(folder, copy)
            flip(biggest(copy), np.random.default_rng(trial))
            print(outcome(reader, copy, truth), flush=True)


def count_outcomes(reader: Reader, folder: Path) -> Counter[str]:
    """Return how many trials were noticed, silent or without effect.

    The true rows are in TRUTH beside the folder.
    """
    outcomes: list[str] = []
    while len(outcomes) < TRIALS:
        done = subprocess.run(
            [sys.executable, __file__, reader.name, str(folder), str(len(outcomes))],
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        said = done.stdout.splitlines()
        if READY not in said:
            raise RuntimeError(f"{reader.name}: does not read undamaged rows. {done.stderr}")
        outcomes += [line for line in said if line in OUTCOMES]
        if done.returncode:
            outcomes.append("noticed")
    return Counter(outcomes)


if __name__ == "__main__":
    chosen = next(reader for reader in (OURS, *PEERS) if reader.name == sys.argv[1])
    trials(chosen, Path(sys.argv[2]), int(sys.argv[3]))
