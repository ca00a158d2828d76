"""The trainer's table: every point x every fault, on a live queue, ends with the same weights.

Some minutes, so `slow`; the quick tests of test_exact_resume.py try the same points in turn.
"""

import dataclasses
from pathlib import Path

import pytest
from faulty import FAULTS, BrokenError, Fault, run_with_fault
from points import OTHERS, points_in_source
from runs import Weights, providing, same, seen_in_one_go, weights

from synthenticity import faults
from synthenticity.config import Config
from synthenticity.config_file import write_config
from synthenticity.errors import SynthenticityError
from synthenticity.training.train import train

POINTS = [
    *("consumer.read", "acknowledge.recorded", "acknowledge.removed"),
    *(
        name
        for name in points_in_source()
        if OTHERS.get(f"{name.split('.')[0]}.") == "the trainer's"
    ),
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(long_run: Config) -> Config:
    """Twelve iterations on eight live files, checkpoints after 5, 10 and 12 at least."""
    return dataclasses.replace(long_run, save_interval=5, max_backlog_files=3)


@pytest.fixture(scope="module")
def reference(run: Config, tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return seen_in_one_go(run, tmp_path_factory.mktemp("reference"))


def strike_in_this_process(config: Config, out: Path, point: str, fault: str) -> None:
    watcher = Fault(point, fault)
    faults.watch(watcher)
    try:
        train(config, out)  # a full disk, and a signal at the very end, are lived with
    except (BrokenError, OSError, SynthenticityError, KeyboardInterrupt):
        pass
    finally:
        faults.watch(None)
    assert watcher.fired


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("point", POINTS)
def test_a_fault_at_a_point_leaves_the_weights_as_they_would_have_been(
    point: str, fault: str, run: Config, reference: Weights, tmp_path: Path
) -> None:
    config = dataclasses.replace(run, data_dir=str(tmp_path / "live"))
    out = tmp_path / "run"
    with providing(config) as queue:
        if fault == "SIGKILL":
            write_config(config, tmp_path / "c.toml")
            command = ["train", str(tmp_path / "c.toml"), "--out_dir", str(out)]
            run_with_fault(command, tmp_path / "fired", point=point, fault=fault)
        else:
            strike_in_this_process(config, out, point, fault)
        assert train(config, out).steps == 12
        assert queue.first_unacknowledged() == 12 * 8 // 12
        assert len(queue.numbers("train")) <= config.max_backlog_files
    assert all(same(weights(out), reference))
