"""What `status` says of a directory is so, and asking changes nothing."""

import collections
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from owning import owner_in_another_process

from synthenticity.config import Config
from synthenticity.config_file import write_config
from synthenticity.errors import QueueError
from synthenticity.stream.audit import audit
from synthenticity.stream.batch_queue import BatchQueue
from synthenticity.stream.status import BACKLOG_FULL, DISK_FULL, QueueStatus, queue_status


def acknowledged(queue: BatchQueue, *recent: tuple[float, int], by: str = "run") -> None:
    """Write an acknowledgement with a past of its own."""
    content = {"first_unacknowledged": recent[-1][1], "by": by, "recent": recent}
    (queue.directory / ".queue").mkdir(exist_ok=True)
    (queue.directory / ".queue/acknowledged.json").write_text(json.dumps(content))


@pytest.fixture
def with_config(live):
    """A live queue with its settings beside it."""
    write_config(Config(max_backlog_files=3), live.directory / "config.toml")
    return live


def test_a_queue_that_nobody_provides_for_says_how_to_start_one(with_config) -> None:
    with_config.fill(range(2))
    now = queue_status(with_config.directory)
    assert now.owner is None and not now.alive
    assert (now.kind, now.fingerprint) == ("live", with_config.meta().fingerprint)
    assert (now.files, now.backlog, now.max_backlog_files) == ({"train": 2}, 2, 3)
    assert (now.next_number, now.first_unacknowledged, now.acknowledged_by) == (2, 0, "")
    assert now.who_waits == (
        "nobody provides: a trainer will wait after 2 files. Start one: synthenticity prepare "
        f"{with_config.directory}/config.toml --out-dir {with_config.directory}"
    )
    with_config.acknowledge(2, by="runs/a")
    now = queue_status(with_config.directory)
    assert (now.next_number, now.first_unacknowledged, now.acknowledged_by) == (2, 2, "runs/a")
    assert now.who_waits.startswith("nobody provides: a trainer waits. Start one: ")


def test_a_provider_in_another_process_is_alive_until_it_is_killed(with_config) -> None:
    report = "'making train 7', files_made=4, seconds=8.0, workers=2"
    with owner_in_another_process(with_config, report) as process:
        deadline = time.monotonic() + 20  # figures come with the next beat
        while not (now := queue_status(with_config.directory)).files_per_second_made:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert now.alive and now.owner.pid == process.pid
        assert (now.owner.state, now.owner.workers) == ("making train 7", 2)
        assert now.files_per_second_made == 0.5
        assert now.to_json()["sequences_per_second_made"] == 2.5
        assert now.who_waits == (
            "a trainer would wait for the provider: 0 files wait, the provider makes 0.5 files/s"
        )
        process.send_signal(signal.SIGKILL)
        process.wait()
    now = queue_status(with_config.directory)
    assert not now.alive and now.owner.pid == process.pid
    assert now.files_per_second_made is None  # it makes none any more
    assert now.to_json()["owner"]["alive"] is False
    assert now.who_waits.startswith("nobody provides")


def provided(queue: BatchQueue, state: str, *, made: float | None = None) -> QueueStatus:
    """Look while this process provides and reports."""
    with queue.owned() as ownership:
        if made is not None:
            ownership.report("starting", files_made=round(made * 100), seconds=100.0)
        ownership.report(state)
        return queue_status(queue.directory)


def test_a_full_backlog_waits_for_the_trainer(with_config) -> None:
    with_config.fill(range(3))
    wait = "the provider waits for the trainer: the backlog is full, 3 files wait"
    assert provided(with_config, BACKLOG_FULL).who_waits == wait
    assert provided(with_config, "starting").who_waits == wait
    (with_config.directory / "config.toml").unlink()
    now = provided(with_config, BACKLOG_FULL)
    assert now.max_backlog_files == 3 and now.who_waits == wait  # as the provider itself says
    assert now.next_number == 3
    assert queue_status(with_config.directory).max_backlog_files is None  # nobody says so any more


def test_a_full_disk_is_what_is_waited_for(with_config) -> None:
    with_config.fill(range(1))
    wait = "the provider waits for disk space; 1 file waits for the trainer"
    assert provided(with_config, DISK_FULL).who_waits == wait


def test_rates_tell_which_side_is_the_slower_one(with_config) -> None:
    now = time.time()
    with_config.fill(range(11))
    acknowledged(with_config, (now - 10, 0), (now - 5, 4), (now - 1, 9))
    slow = provided(with_config, "making train 11", made=0.5)
    assert (slow.files_per_second_made, slow.files_per_second_taken) == (0.5, pytest.approx(1.0))
    assert slow.who_waits == (
        "the trainer will wait for the provider: 2 files wait for the trainer, the provider makes "
        "0.5 files/s, the trainer took 1 of late"
    )
    fast = provided(with_config, "making train 11", made=2.0)
    assert fast.who_waits.startswith("nobody waits: 2 files wait for the trainer, the provider")
    acknowledged(with_config, (now - 10, 0), (now - 1, 11))
    assert provided(with_config, "making train 11", made=0.5).who_waits == (
        "the trainer waits for the provider: 0 files wait, the provider makes 0.5 files/s, the "
        "trainer took 1.2 of late"
    )


@pytest.mark.parametrize(
    "ago", [[5.0], [5.0, 9.0], [9.0, 5.0, 7.0, 1.0], [5.0, -60.0], [5.0, 5.0]], ids=str
)
def test_too_few_or_impossible_times_give_no_rate(ago: list[float], live) -> None:
    now = time.time()
    acknowledged(live, *((now - seconds, number) for number, seconds in enumerate(ago)))
    status = queue_status(live.directory)
    assert status.files_per_second_taken is None
    assert status.acknowledged_seconds_ago == pytest.approx(ago[-1], abs=5)


def test_a_beat_from_the_future_is_that_of_a_dead_provider_or_of_a_live_one(live) -> None:
    with owner_in_another_process(live, "'making train 0'") as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    beat = live.directory / ".queue/owner.json"
    os.utime(beat, (time.time() + 3600, time.time() + 3600))
    now = queue_status(live.directory)
    assert not now.alive and -3700 < now.owner.seconds_ago < -3500
    with live.owned() as ownership:
        os.utime(beat, (time.time() + 3600, time.time() + 3600))
        ownership.beat()  # the next one is of this clock again
        assert queue_status(live.directory).alive


def test_a_finite_set_is_complete_or_says_what_is_missing(finite) -> None:
    finite.announce(6, ["train", "val"])
    now = queue_status(finite.directory)
    assert now.missing == {"train": [range(4, 6)], "val": [range(1, 6)]}
    assert now.to_json()["missing"] == {"train": [[4, 5]], "val": [[1, 5]]}
    assert (now.next_number, now.backlog, now.max_backlog_files) == (4, 0, None)
    assert now.who_waits == (
        "nobody provides: 7 files are missing. Start one: synthenticity prepare CONFIG --files 6 "
        f"--out-dir {finite.directory}"
    )
    with finite.owned() as ownership:
        ownership.report("starting", files_made=2, seconds=4.0)
        ownership.report("making train 4")
        now = queue_status(finite.directory)
        assert now.who_waits == "the provider is at work: 7 files are missing, about 14 s more"
        ownership.report(DISK_FULL)
        now = queue_status(finite.directory)
        assert now.who_waits == "the provider waits for disk space; 7 files are missing"
    finite.fill(range(4, 6))
    finite.fill(range(1, 6), "val")
    now = queue_status(finite.directory)
    assert (now.missing, now.next_number, now.who_waits) == ({}, None, "complete")
    finite.announce(1, ["test"])
    assert queue_status(finite.directory).who_waits.endswith(
        f"--files 1 --splits train,val,test --out-dir {finite.directory}"
    )


def test_quarantine_temporaries_and_disk_are_counted(live, monkeypatch: pytest.MonkeyPatch) -> None:
    live.fill(range(3))
    for number in (0, 1):
        live.quarantine(live.path("train", number), f"reason {number}\nand more")
    os.utime(live.directory / "quarantine/train00000000.0.reason", (1, 1))
    (live.directory / ".queue/tmp/train-00000003.parquet.9").write_bytes(b"x" * 50_000)
    usage = collections.namedtuple("Usage", "free")
    size = live.path("train", 2).stat().st_size
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10 * size + 1))
    now = queue_status(live.directory)
    assert (now.quarantined, now.last_reason, now.temporaries) == (2, "reason 1", 1)
    assert (now.free_bytes, now.files_that_fit) == (10 * size + 1, 10)
    assert 50_000 + 3 * size <= now.used_bytes < 1_000_000


def test_what_is_damaged_is_named(live) -> None:
    live.fill(range(1))
    live.acknowledge(1)
    path = live.directory / ".queue/acknowledged.json"
    path.write_text("{")
    with pytest.raises(QueueError, match=r"acknowledged\.json: is damaged"):
        queue_status(live.directory)
    path.unlink()
    (live.directory / "meta.json").write_text("[]")
    with pytest.raises(QueueError, match="is not the meta file"):
        queue_status(live.directory)


@pytest.mark.parametrize("place", ["", "none"])
def test_what_holds_no_batch_files_is_refused(place: str, tmp_path: Path) -> None:
    with pytest.raises(QueueError, match=r"no meta\.json.*Make some"):
        queue_status(tmp_path / place)


def test_damaged_batch_files_and_settings_are_not_opened(with_config) -> None:
    with_config.fill(range(2))
    with_config.path("train", 0).write_bytes(b"")
    (with_config.directory / "config.toml").write_text("max_backlog_files = 'many'\n")
    (with_config.directory / ".queue/owner.json").write_text("{")
    now = queue_status(with_config.directory)
    assert (now.files, now.max_backlog_files, now.owner) == ({"train": 2}, None, None)


def test_nothing_is_written(with_config, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a read-only file system; root may write to a read-only directory."""
    with_config.fill(range(2))
    refused = []

    def refuse(*arguments: object, **_named: object) -> None:
        refused.append(arguments)
        raise OSError(errno.EROFS, "Read-only file system")

    for call in ("mkdir", "replace", "rename", "link", "unlink", "fsync", "write"):
        monkeypatch.setattr(os, call, refuse)
    before = {path: path.stat().st_mtime_ns for path in with_config.directory.rglob("*")}
    assert queue_status(with_config.directory).backlog == 2
    assert {path: path.stat().st_mtime_ns for path in with_config.directory.rglob("*")} == before
    assert refused == []


def test_a_read_only_file_system_will_do(with_config) -> None:
    with_config.fill(range(2))
    place = with_config.directory
    code = (
        "import os; from synthenticity.stream.status import queue_status\n"
        f"try: os.mkdir({str(place / 'x')!r})\n"
        f"except OSError as error: print(error.errno, queue_status({str(place)!r}).backlog)"
    )
    script = f'mount --bind {place} {place} && mount -o remount,ro,bind {place} && exec "$@"'
    command = ["unshare", "-Urm", "sh", "-c", script, "sh", sys.executable, "-c", code]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no unshare")
    if done.returncode and not done.stdout:
        pytest.skip(f"no mounts of one's own here: {done.stderr.strip()}")
    assert done.stdout.split() == [str(errno.EROFS), "2"]


def test_files_may_come_and_go_meanwhile(with_config) -> None:
    stop, seen = threading.Event(), []

    def work() -> None:
        for number in range(60):
            with_config.fill(range(number, number + 1))
            with_config.acknowledge(number)
        stop.set()

    worker = threading.Thread(target=work)
    worker.start()
    while worker.is_alive():
        seen.append(queue_status(with_config.directory).backlog)
    assert stop.is_set() and len(seen) > 3
    assert set(seen) <= {0, 1, 2}


def test_asking_imports_no_torch(live) -> None:
    code = (
        "import sys; from synthenticity.cli import run\n"
        f"code = run(['status', {str(live.directory)!r}]); assert code == 0, code\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "nobody provides" in done.stdout


def test_a_file_of_a_huge_number_costs_neither_time_nor_memory(finite) -> None:
    foreign = finite.path("train", 10**200)
    foreign.write_bytes(b"foreign")
    now = queue_status(finite.directory)
    assert now.missing["train"] == [range(4, 10**200)] and now.next_number == 4
    assert "are missing" in now.who_waits and json.dumps(now.to_json())
    details = [finding.detail for finding in audit(finite, finite.meta()).findings]
    assert f"lacks numbers 4-{10**200 - 1}; prepare makes it again" in details
    finite.announce(6, ["train"])
    now = queue_status(finite.directory)
    assert now.missing["train"] == [range(4, 6)]
