"""Ctrl-C in the commands that fill: their threads end, and the same command goes on.

A real process gets a real signal, while its model fills what comes after the first file.
"""

import dataclasses
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from synthenticity import cli
from synthenticity.config import Config
from synthenticity.config_file import write_config

WAIT = 60


def interrupt(command: list[str], after: Path) -> tuple[str, str]:
    """Run a command until a file is there, interrupt it, and return what it said."""
    with subprocess.Popen(
        [sys.executable, "-m", "synthenticity", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            deadline = time.monotonic() + WAIT
            while not after.exists():
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
            time.sleep(0.1)  # the line is full again, and its threads are at work
            process.send_signal(signal.SIGINT)
            shown, said = process.communicate(timeout=WAIT)
        finally:
            process.kill()
    assert process.returncode == cli.INTERRUPTED, said
    assert "Stopped. The same command goes on from here." in said
    assert "Traceback" not in said
    return shown, said


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("*/*.parquet")}


def test_prepare_ends_at_ctrl_c_and_goes_on_to_the_same_files(
    scorer_config: Config, tmp_path: Path
) -> None:
    config = dataclasses.replace(scorer_config, batches_per_file=20, data_dir=str(tmp_path / "cut"))
    write_config(config, tmp_path / "c.toml")
    command = ["prepare", str(tmp_path / "c.toml"), "--files", "8", "--splits", "train"]
    shown, _ = interrupt(command, tmp_path / "cut" / "train" / "train-00000000.parquet")
    assert "prepared in" in shown
    left = contents(tmp_path / "cut")
    assert 0 < len(left) < 8
    assert not list((tmp_path / "cut" / ".queue" / "tmp").iterdir())
    assert cli.run(command) == cli.GOOD
    assert cli.run([*command, "--out-dir", str(tmp_path / "whole")]) == cli.GOOD
    whole = contents(tmp_path / "whole")
    assert contents(tmp_path / "cut") == whole and len(whole) == 8
    assert left.items() <= whole.items()


def test_fill_ends_at_ctrl_c_and_goes_on_to_the_same_records(
    family: Callable[[str], Path], tmp_path: Path
) -> None:
    corpus = tmp_path / "notes.txt"
    lines = (f"The keeper rowed {n} boats. " * (1 + n % 12) for n in range(1500))
    corpus.write_text("\n".join(lines), encoding="utf-8")

    def command(out: Path) -> list[str]:
        return [
            *("fill", str(corpus), "--document_per", "line", "--ratio", "0.1,0.6"),
            *("--model", str(family("roberta")), "--out", str(out)),
        ]

    cut, whole = tmp_path / "cut.parquet", tmp_path / "whole.parquet"
    partial = tmp_path / "cut.parquet.partial"
    interrupt(command(cut), partial / "part-000000.parquet")
    assert not cut.exists()
    assert 0 < len(list(partial.glob("part-*"))) < 6
    assert cli.run(command(cut)) == cli.run(command(whole)) == cli.GOOD
    assert cut.read_bytes() == whole.read_bytes()
    assert not partial.exists()
