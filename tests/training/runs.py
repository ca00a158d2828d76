"""What tests of training runs share: their weights, ways to stop them, and a provider."""

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from synthenticity.config import Config
from synthenticity.providers.prepare import prepare
from synthenticity.stream.batch_queue import BatchQueue
from synthenticity.training.callbacks import TrainProgress
from synthenticity.training.train import train

Weights = dict[str, torch.Tensor]


def weights(folder: Path) -> Weights:
    return load_file(folder / "model.safetensors")


def same(left: Weights, right: Weights, part: str = "") -> list[bool]:
    """Say of each tensor whose name begins with `part` whether it is bit-identical."""
    assert set(left) == set(right)
    return [torch.equal(left[name], right[name]) for name in left if name.startswith(part)]


@contextmanager
def stopped_at(step: int) -> Iterator[Any]:
    """Yield an `on_progress` that sends Ctrl-C at a step's report; check that it did."""
    fired: list[int] = []

    def watch(progress: TrainProgress) -> None:
        if progress.step >= step and not fired:
            fired.append(progress.step)
            os.kill(os.getpid(), signal.SIGINT)

    yield watch
    assert fired


@contextmanager
def providing(config: Config, **options: Any) -> Iterator[BatchQueue]:
    """Run a live provider in a thread."""
    stop = threading.Event()
    thread = threading.Thread(target=prepare, args=(config,), kwargs={"stop": stop, **options})
    thread.start()
    try:
        yield BatchQueue(config.data_dir)
    finally:
        stop.set()
        thread.join()


def seen_in_one_go(live: Config, tmp_path: Path) -> Weights:
    """Train on the sequences of a live stream one after the other, with nothing in between."""
    sequences = live.max_iters * live.gradient_accumulation_steps * live.batch_size
    files = sequences // (live.batch_size * live.batches_per_file) + 1
    whole = dataclasses.replace(
        live, data_dir=str(tmp_path / "whole"), max_backlog_files=files + 1, report_to="none"
    )
    with providing(whole) as queue:
        while len(queue.numbers("train")) < files:
            time.sleep(0.01)
        train(whole, tmp_path / "once")
    return weights(tmp_path / "once")
