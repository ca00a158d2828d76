"""Streams of randomness depend on their key and on nothing else."""

import subprocess
import sys

import numpy as np

from synthenticity.seeding import digest, numpy_rng, stream_key


def test_every_part_of_the_key_matters() -> None:
    keys = {
        stream_key(seed, split, number, purpose)
        for seed in (1, 2)
        for split in ("train", "val")
        for number in (0, 1)
        for purpose in ("a", "b")
    }
    assert len(keys) == 16


def test_parts_cannot_run_into_each_other() -> None:
    assert digest("ab", "c") != digest("a", "bc")


def test_streams_are_the_same_in_another_process_with_another_hash_seed() -> None:
    code = (
        "from synthenticity.seeding import numpy_rng;"
        "print(numpy_rng(7, 'train', 3, 'masks').integers(2**62))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": salt},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for salt in ("1", "2")
    }
    assert seen == {f"{numpy_rng(7, 'train', 3, 'masks').integers(2**62)}\n"}


def test_no_global_state_is_touched() -> None:
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    numpy_rng(1, "train", 0, "x").random(10)
    assert (np.random.get_state()[1] == before).all()
