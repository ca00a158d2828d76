"""Mask filling as people do it today, beside ours: labels, bytes, seeds, long texts and speed.

All tools fill the same texts with the same model on one thread. Slow ones fill fewer texts, and
then the plain torch loop, against which all are timed, fills these few in the same round, too.
How to install the peers is in benchmarks/peer_tools.py; those not installed are left out.

    OMP_NUM_THREADS=1 python benchmarks/peers.py --model runs/mlm --text pride-and-prejudice.txt
"""

import argparse
import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import record
import torch
import transformers
from peer_rows import PARAGRAPHS, Comparison
from peer_texts import read_peer_texts
from peer_tools import Tools


def in_another_process() -> dict[str, Any]:
    """Return what every tool writes in a process with another hash seed."""
    done = subprocess.run(
        [sys.executable, *sys.argv, "--written"],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def versions() -> str:
    names = ("torch", "transformers", "nlpaug", "textattack")
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of a BERT MLM")
    parser.add_argument("--text", type=Path, required=True, help="a book it was not trained on")
    parser.add_argument("--written", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    texts = read_peer_texts(options.text, PARAGRAPHS)
    comparison = Comparison(Tools(options.model), texts)
    if options.written:
        print(json.dumps({tool.name: comparison.written(tool) for tool in comparison.found}))
        return
    where = (
        f"One thread, the same BERT MLM of 6 layers of 384. {PARAGRAPHS} paragraphs of 50-200 "
        "words from a novel that it was not trained on, one line each; 15 % asked"
    )
    command = "python benchmarks/peers.py --model MODEL --text pride-and-prejudice.txt"
    speed = comparison.speed_rows()
    record.write(
        "peers_speed",
        title="Filling masks: other tools' speed",
        command=command,
        about=(
            f"{where}; medians of three to five rounds, the plain torch loop in each and on the "
            "same texts. Trust CPU time more than wall time, and ratios more than both. All are in "
            f"one process. {versions()}. {' '.join(comparison.missing)}"
        ).strip(),
        rows=speed,
    )
    rows = [
        *comparison.label_rows(),
        *comparison.kept_rows(),
        *comparison.seed_rows(in_another_process()),
        *comparison.ratio_rows(),
        *comparison.long_rows(),
    ]
    record.write(
        "peers",
        title="Filling masks: other tools",
        command=command,
        about=f"{where} unless stated. {versions()}. {' '.join(comparison.missing)}".strip(),
        rows=rows,
    )


if __name__ == "__main__":
    main()
