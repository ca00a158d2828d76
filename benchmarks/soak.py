"""Is anything lost, or used twice, when processes are killed at random, again and again?

A provider with two workers and a trainer share a live queue. Every now and then one of the four
processes, drawn by lot, is killed with SIGKILL; who died is started again by the same command (a
worker by its provider). At the end the files of the stream and the final weights are compared with
those of a run that nobody disturbed: number by number and bit by bit.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

SENTENCE = "the king and his fool went to a hall where night fell on stone"
TOO_OFTEN = "workers in a row died over it"
"""What the provider says when the workers of one file were killed again and again: it then ends."""
MOST_WAITING = 3
SETTINGS = """
max_backlog_files = 3
split_by = "balanced"
block_size = 49
batch_size = 4
batches_per_file = 3
val_files = 1
sleep_seconds = 0.05
wait_seconds = 120
layers = 2
hidden_size = 64
attention_heads = 2
intermediate_size = 96
dropout = 0.1
warmup_iters = 5
report_to = "none"
device = "cpu"
"""
MLM = """
dataset = "char_diffusion"
model_mode = "language_model"
max_iters = 40
eval_interval = 40
"""
SCORER = """
gradient_accumulation_steps = 2
eval_interval = 70
save_interval = 20
"""


@dataclass
class Outcome:
    """What came of a run: how often who was killed, the stream's files, the final weights."""

    kills: Counter[str] = field(default_factory=Counter)
    starts: Counter[str] = field(default_factory=Counter)
    gave_up: int = 0
    """How often the provider ended because the workers of one file had died three times."""
    files: dict[str, str] = field(default_factory=dict)
    consumed: int = 0
    """So many files the weights hold; of those after, some may be there, in any order."""
    most_waiting: int = 0
    weights: str = ""
    seconds: float = 0.0


class _Archive:
    """Notes, every few milliseconds, which files wait and what they hold.

    Raises at the end what it met: one number with two contents.
    """

    def __init__(self, folder: Path, outcome: Outcome) -> None:
        self._folder = folder
        self._outcome = outcome
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.problems: list[str] = []
        self._seen: set[tuple[str, int]] = set()

    def __enter__(self) -> "_Archive":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            if not self._folder.is_dir():
                continue
            entries = os.scandir(self._folder)
            names = sorted(entry.name for entry in entries if entry.name.endswith(".parquet"))
            self._outcome.most_waiting = max(self._outcome.most_waiting, len(names))
            for name in names:
                self._note(self._folder / name)

    def _note(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                key = (path.name, os.fstat(file.fileno()).st_ino)
                if key in self._seen:
                    return
                found = hashlib.sha256(file.read()).hexdigest()
        except FileNotFoundError:
            return
        self._seen.add(key)
        if self._outcome.files.setdefault(path.name, found) != found:
            self.problems.append(f"{path.name} was written with two contents")


class _Command:
    """A command that is started again whenever it has been killed."""

    def __init__(self, name: str, arguments: list[str], log: Path, outcome: Outcome) -> None:
        self.name = name
        self._arguments = [sys.executable, "-m", "synthenticity", *arguments]
        self._log = log
        self._outcome = outcome
        self._start()

    def _start(self) -> None:
        self._outcome.starts[self.name] += 1
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._arguments, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def kept_alive(self) -> bool:
        """Start it again if it was killed; return False once it has ended well."""
        code = self.process.poll()
        if code == 0:
            return False
        if code is not None:
            if code != -signal.SIGKILL:
                self._explain(code)
            self._start()
        return True

    def _explain(self, code: int) -> None:
        said = self._log.read_text(encoding="utf-8").strip().splitlines()[-1]
        if TOO_OFTEN not in said:
            raise RuntimeError(f"{self.name} ended by itself with {code}: {said}")
        self._outcome.gave_up += 1

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()


def _workers(provider: subprocess.Popen[bytes]) -> list[int]:
    try:
        children = psutil.Process(provider.pid).children()
        return [child.pid for child in children if "spawn_main" in " ".join(child.cmdline())]
    except psutil.Error:
        return []


def run(
    folder: Path, config: Path, *, kills: int, mean_seconds: float, seed: int, limit: float
) -> Outcome:
    """Train to the end with a live provider beside; kill so many processes on the way."""
    outcome, choose = Outcome(), random.Random(seed)
    started = time.monotonic()
    data, out = folder / "data", folder / "run"
    folder.mkdir()
    common = [str(config), "--data_dir", str(data)]
    with _Archive(data / "train", outcome) as archive:
        provider = _Command(
            "provider", ["prepare", *common, "--workers", "2"], folder / "provider.log", outcome
        )
        trainer = _Command(
            "trainer", ["train", *common, "--out_dir", str(out)], folder / "trainer.log", outcome
        )
        try:
            due = time.monotonic() + choose.expovariate(1 / mean_seconds)
            while trainer.kept_alive():
                provider.kept_alive()
                if time.monotonic() - started > limit:
                    raise RuntimeError(f"not at the end after {limit:g} s")
                if time.monotonic() >= due and outcome.kills.total() < kills:
                    _kill_one(provider, trainer, choose, outcome)
                    due = time.monotonic() + choose.expovariate(1 / mean_seconds)
                time.sleep(0.01)
        finally:
            trainer.end()
            provider.end()
    if archive.problems:
        raise RuntimeError("; ".join(archive.problems))
    outcome.weights = hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
    said = (data / ".queue" / "acknowledged.json").read_text(encoding="utf-8")
    outcome.consumed = json.loads(said)["first_unacknowledged"]
    outcome.seconds = time.monotonic() - started
    return outcome


def _kill_one(
    provider: _Command, trainer: _Command, choose: random.Random, outcome: Outcome
) -> None:
    candidates = [("provider", provider.process.pid), ("trainer", trainer.process.pid)]
    candidates += [("worker", pid) for pid in _workers(provider.process)]
    name, pid = choose.choice(candidates)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    outcome.kills[name] += 1


def differences(disturbed: Outcome, reference: Outcome) -> list[str]:
    """Say what is lost, other, or too much beside the undisturbed run; empty if nothing is."""
    found = []
    names = set(disturbed.files)
    consumed = {f"train-{number:08d}.parquet" for number in range(disturbed.consumed)}
    if disturbed.consumed != reference.consumed or consumed - names:
        found.append(f"numbers are missing: {sorted(consumed - names)}")
    shared = names & set(reference.files)
    found += [n for n in sorted(shared) if disturbed.files[n] != reference.files[n]]
    waiting = max(disturbed.most_waiting, reference.most_waiting)
    if waiting > MOST_WAITING:
        found.append(f"{waiting} files were waiting")
    if disturbed.weights != reference.weights:
        found.append("the weights differ")
    return found


def make_settings(folder: Path, iterations: int) -> Path:
    """Write a corpus, train a filling model on it, and return the config of a scorer."""
    corpus = folder / "corpus"
    corpus.mkdir()
    for number in range(12):
        draw = random.Random(number)
        text = " ".join(draw.choice(SENTENCE.split()) for _ in range(800))
        (corpus / f"play-{number}.txt").write_text(text, encoding="utf-8")
    start = f'corpus = "{corpus}"\n{SETTINGS}'
    (folder / "mlm.toml").write_text(start + MLM, encoding="utf-8")
    config = folder / "scorer.toml"
    mlm = f'mlm_checkpoint_path = "{folder / "mlm"}"\ninit_from_checkpoint = "{folder / "mlm"}"\n'
    config.write_text(f"{start}{SCORER}{mlm}max_iters = {iterations}\n", encoding="utf-8")
    for command in (
        ["prepare", str(folder / "mlm.toml"), "--files", "14", "--out-dir", str(folder / "m")],
        [
            *("train", str(folder / "mlm.toml"), "--data_dir", str(folder / "m")),
            *("--out_dir", str(folder / "mlm")),
        ],
    ):
        arguments = [sys.executable, "-m", "synthenticity", *command]
        subprocess.run(arguments, check=True, capture_output=True)
    return config


def soak(
    folder: Path, *, kills: int, iterations: int, mean_seconds: float, seed: int = 0
) -> tuple[Outcome, Outcome, list[str]]:
    """Return the outcome of the disturbed run, of the undisturbed one, and their differences."""
    config = make_settings(folder, iterations)
    options = {"mean_seconds": mean_seconds, "seed": seed, "limit": 60 + 12 * kills}
    disturbed = run(folder / "disturbed", config, kills=kills, **options)
    reference = run(folder / "reference", config, kills=0, **options)
    return disturbed, reference, differences(disturbed, reference)


def main() -> None:
    import record

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--iterations", type=int, default=6000)
    parser.add_argument("--mean-seconds", type=float, default=2.0)
    parser.add_argument("--keep", type=Path, help="leave everything in this folder, to be")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        disturbed, reference, found = soak(
            folder,
            kills=asked.kills,
            iterations=asked.iterations,
            mean_seconds=asked.mean_seconds,
        )
    finally:
        if asked.keep:
            shutil.move(folder, asked.keep)
        else:
            shutil.rmtree(folder)
    if disturbed.kills.total() < asked.kills:
        raise SystemExit(f"only {disturbed.kills.total()} kills: raise --iterations")
    rows = [
        {
            "run": name,
            **{f"{who}s killed": outcome.kills[who] for who in ("provider", "worker", "trainer")},
            "starts of the trainer": outcome.starts["trainer"],
            "provider gave up": outcome.gave_up,
            "train files": len(outcome.files),
            "most on disk": outcome.most_waiting,
            "weights (sha256)": outcome.weights[:12],
            "seconds": round(outcome.seconds),
        }
        for name, outcome in (("killed at random", disturbed), ("undisturbed", reference))
    ]
    record.write(
        "soak",
        title="Killed at random",
        command=f"python benchmarks/soak.py --kills {asked.kills} --iterations {asked.iterations} "
        f"--mean-seconds {asked.mean_seconds:g}",
        about="A provider with two workers and a trainer on a live queue of at most 3 files; a "
        f"kill -9 of one of the four every {asked.mean_seconds:g} s on average, "
        f"{asked.iterations} iterations of 2 batches of 4, dropout on, evaluations between. Other "
        f"files than those of the undisturbed run, or numbers missing: {len(found)}.",
        rows=rows,
    )
    if found:
        raise SystemExit("; ".join(found))


if __name__ == "__main__":
    main()
