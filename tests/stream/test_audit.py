"""What should not be in a directory is found; what is safe to repair is repaired, no more."""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from owning import owner_in_another_process

from synthenticity import faults
from synthenticity.errors import QueueOwnedError
from synthenticity.stream import audit as auditing
from synthenticity.stream.audit import audit, repair_queue
from synthenticity.stream.batch_file import Identity, encode_batch_file, read_batch_file
from synthenticity.stream.batch_queue import BatchQueue
from synthenticity.stream.status import queue_status


@pytest.fixture(autouse=True)
def settle_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "SETTLE_SECONDS", 0.05)


def found(queue: BatchQueue) -> list[tuple[str, str]]:
    """Return kind and place of all findings."""
    findings = audit(queue, queue.meta()).findings
    return [(each.kind, str(each.path.relative_to(queue.directory))) for each in findings]


def everything(queue: BatchQueue) -> dict[str, bytes]:
    files = (path for path in queue.directory.rglob("*") if path.is_file())
    return {str(path.relative_to(queue.directory)): path.read_bytes() for path in files}


def put(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def shorter(queue: BatchQueue, number: int) -> None:
    """Leave out the last row of a file; it is consistent in itself."""
    path = queue.path("train", number)
    columns = {name: values[:-1] for name, values in read_batch_file(path).columns.items()}
    meta = queue.meta()
    identity = Identity(meta.fingerprint, "train", number)
    path.write_bytes(encode_batch_file(columns, meta.schema, identity))


def test_whole_directories_have_no_findings(live, finite) -> None:
    live.fill(range(3))
    live.acknowledge(1)
    assert audit(live, live.meta()) == auditing.Audit([], 2)
    assert audit(finite, finite.meta()) == auditing.Audit([], 5)


NAME = "train/train-0000000{}.parquet".format

FAULTS: dict[str, tuple[Callable, tuple[str, str]]] = {
    "a number is missing": (lambda q: q.path("train", 1).unlink(), ("gap", "train")),
    "fewer than announced": (lambda q: q.announce(5, ["train"]), ("gap", "train")),
    "a split of which nothing is there": (lambda q: q.announce(1, ["test"]), ("gap", "test")),
    "a file copied to another number": (
        lambda q: shutil.copy(q.path("train", 3), q.path("train", 4)),
        ("duplicate", NAME(4)),
    ),
    "a file copied as browsers do": (
        lambda q: shutil.copy(q.path("train", 3), q.directory / "train/train-00000003 (1).parquet"),
        ("duplicate", "train/train-00000003 (1).parquet"),
    ),
    "a file in another split": (
        lambda q: shutil.copy(q.path("train", 3), q.path("val", 1)),
        ("duplicate", "val/val-00000001.parquet"),
    ),
    "a file in another split, by its own name": (
        lambda q: shutil.copy(q.path("train", 3), q.directory / "val"),
        ("duplicate", "val/train-00000003.parquet"),
    ),
    "a text among the files": (
        lambda q: put(q.directory / "train/notes.txt"),
        ("foreign", "train/notes.txt"),
    ),
    "a hidden file": (lambda q: put(q.directory / "val/.DS_Store"), ("foreign", "val/.DS_Store")),
    "a name of too few digits": (
        lambda q: put(q.directory / "train/train-4.parquet"),
        ("foreign", "train/train-4.parquet"),
    ),
    "data at the top": (lambda q: put(q.directory / "a.parquet"), ("foreign", "a.parquet")),
    "a directory of data": (lambda q: put(q.directory / "old/in/a.parquet"), ("foreign", "old")),
    "a half-written file": (
        lambda q: put(q.directory / ".queue/tmp/train-00000004.parquet.99"),
        ("temporary", ".queue/tmp/train-00000004.parquet.99"),
    ),
    "a small file half-written": (
        lambda q: put(q.directory / ".queue/.announced.json.99"),
        ("temporary", ".queue/.announced.json.99"),
    ),
    "a config half-written": (
        lambda q: put(q.directory / ".config.toml.99"),
        ("temporary", ".config.toml.99"),
    ),
    "a self-test broken off": (
        lambda q: put(q.directory / ".queue/.self-test-a.99"),
        ("temporary", ".queue/.self-test-a.99"),
    ),
    "a flipped bit": (lambda q: flip(q.path("train", 2)), ("damaged", NAME(2))),
    "an empty file": (lambda q: q.path("train", 2).write_bytes(b""), ("damaged", NAME(2))),
    "a row too few": (lambda q: shorter(q, 2), ("damaged", NAME(2))),
    "a directory in a file's place": (
        lambda q: (q.path("train", 3).unlink(), q.path("train", 3).mkdir()),
        ("damaged", NAME(3)),
    ),
    "files of two runs": (
        lambda q: put(q.path("train", 4), q.path("train", 3).read_bytes().replace(b"x", b"y")),
        ("damaged", NAME(4)),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_and_only_it(fault: str, finite) -> None:
    (finite.directory / ".queue").mkdir(exist_ok=True)
    make, expected = FAULTS[fault]
    make(finite)
    before = everything(finite)
    assert found(finite) == [expected]
    assert everything(finite) == before


LEFT_OVER = [fault for fault, (_, (kind, _)) in FAULTS.items() if kind == "temporary"]
BAD = [
    "a file copied to another number",
    "a file in another split",
    *(fault for fault, (_, (kind, _)) in FAULTS.items() if kind == "damaged"),
]
NOT_OURS = [
    "a file copied as browsers do",
    "a file in another split, by its own name",
    *(fault for fault, (_, (kind, _)) in FAULTS.items() if kind == "foreign"),
]


def repaired(fault: str, queue: BatchQueue) -> tuple[dict[str, bytes], dict[str, bytes], list[str]]:
    """Make a fault and repair it; return what was there, what is, and what was said."""
    (queue.directory / ".queue").mkdir(exist_ok=True)
    (queue.directory / ".queue/owner.lock").touch()
    FAULTS[fault][0](queue)
    before = everything(queue)
    done = repair_queue(queue, queue.meta())
    return before, everything(queue), done


@pytest.mark.parametrize("fault", LEFT_OVER)
def test_what_is_left_over_is_removed(fault: str, finite) -> None:
    before, after, done = repaired(fault, finite)
    place = FAULTS[fault][1][1]
    assert before.pop(place) and before == after
    assert done == [f"removed {finite.directory / place}: stale temporary"]
    assert repair_queue(finite, finite.meta()) == []


@pytest.mark.parametrize("fault", BAD)
def test_bad_files_go_to_quarantine(fault: str, finite) -> None:
    before, after, done = repaired(fault, finite)
    place = FAULTS[fault][1][1]
    moved = {name: after.pop(name) for name in [*after] if name.startswith("quarantine/")}
    bad = before.pop(place, None)
    assert before == after and not (finite.directory / place).exists()
    assert [*moved.values()].count(bad) == (bad is not None)
    assert [place.encode() in moved[name] for name in moved if name.endswith(".reason")] == [True]
    assert len(done) == 1 and f"quarantine/ {finite.directory / place}: " in done[0]
    assert repair_queue(finite, finite.meta()) == []


@pytest.mark.parametrize("fault", NOT_OURS)
def test_what_is_not_ours_is_listed_and_stays(fault: str, finite) -> None:
    before, after, done = repaired(fault, finite)
    assert before == after
    assert (
        len(done) == 1 and f"not removed {finite.directory / FAULTS[fault][1][1]}: not" in done[0]
    )
    assert repair_queue(finite, finite.meta()) == done


def test_every_fault_but_gaps_has_its_repair() -> None:
    gaps = {fault for fault, (_, (kind, _)) in FAULTS.items() if kind == "gap"}
    assert FAULTS.keys() - gaps == {*LEFT_OVER, *BAD, *NOT_OURS} and gaps


def test_the_same_data_under_two_numbers_are_found_and_left_to_remake(finite) -> None:
    meta = finite.meta()
    columns = read_batch_file(finite.path("train", 1)).columns
    identity = Identity(meta.fingerprint, "train", 2)
    finite.path("train", 2).write_bytes(encode_batch_file(columns, meta.schema, identity))
    assert found(finite) == [("duplicate", NAME(2))]
    assert "not removed" in repair_queue(finite, meta)[0]
    assert found(finite) == [("duplicate", NAME(2))]


def test_a_moved_file_is_damage_and_a_gap(finite) -> None:
    finite.path("train", 1).rename(finite.path("train", 4))
    assert found(finite) == [("damaged", NAME(4)), ("gap", "train")]
    assert "number is 1, expected 4" in audit(finite, finite.meta()).findings[0].detail


def test_gaps_are_counted_from_what_is_acknowledged_and_told_as_spans(live) -> None:
    live.fill(range(10_000_000, 10_000_008))
    (live.directory / ".queue/acknowledged.json").write_text(
        json.dumps({"first_unacknowledged": 10_000_000, "by": "", "recent": []})
    )
    for number in (1, 3, 4):
        live.path("train", 10_000_000 + number).unlink()
    (gap,) = audit(live, live.meta()).findings
    assert gap.kind == "gap" and "lacks numbers 10000001, 10000003-10000004;" in gap.detail


def test_acknowledged_files_that_a_killed_consumer_left_are_found_and_removed(live) -> None:
    live.fill(range(3))
    fired = []

    def die(name: str) -> None:
        if name == "acknowledge.recorded":
            fired.append(name)
            raise MemoryError

    faults.watch(die)
    try:
        with pytest.raises(MemoryError):
            live.acknowledge(2)
    finally:
        faults.watch(None)
    assert fired and found(live) == [("acknowledged", NAME(0)), ("acknowledged", NAME(1))]
    done = repair_queue(live, live.meta())
    assert live.numbers("train") == [2] and len(done) == 2
    assert found(live) == [] and repair_queue(live, live.meta()) == []


def test_a_file_in_quarantine_is_nothing_to_find_or_to_touch(live) -> None:
    live.fill(range(2))
    flip(live.path("train", 1))
    assert live.get("train", 1) is None
    with live.owned():  # leaves its lock
        pass
    before = everything(live)
    assert found(live) == []
    assert repair_queue(live, live.meta()) == []
    assert everything(live) == before


def test_what_a_provider_at_work_has_in_hand_is_no_finding(live) -> None:
    live.fill(range(3))
    live.path("train", 1).unlink()
    with live.owned():
        put(live.directory / ".queue/tmp/train-00000001.parquet.99")
        assert found(live) == []
    assert [kind for kind, _ in found(live)] == ["gap", "temporary"]


def test_a_live_provider_keeps_its_queue_and_a_killed_ones_beat_is_removed(live) -> None:
    live.fill(range(1))
    flip(live.path("train", 0))
    with owner_in_another_process(live, "'making train 7'") as process:
        before = everything(live)
        with pytest.raises(QueueOwnedError, match=f"process {process.pid}"):
            repair_queue(live, live.meta())
        after = everything(live)
        assert after.keys() == before.keys() and after[NAME(0)] == before[NAME(0)]
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert live.owner() is not None and not live.owner().alive
    done = repair_queue(live, live.meta())
    assert f"process {process.pid}" in done[0] and "dead" in done[0]
    assert live.owner() is None


def test_files_consumed_and_small_files_written_meanwhile_are_no_finding(live) -> None:
    """A consumer goes through a queue as fast as it can while it is looked at."""
    live.fill(range(120))
    rounds = []

    def consume() -> None:
        for number in range(1, 120):
            live.acknowledge(number, by="run")
            time.sleep(0.001)

    consumer = threading.Thread(target=consume)
    consumer.start()
    while consumer.is_alive():
        assert found(live) == []
        rounds.append(len(live.numbers("train")))
    consumer.join()
    assert found(live) == [] and live.numbers("train") == [119]
    assert rounds and rounds[0] < 120


def test_a_file_that_vanishes_while_it_is_read_is_no_finding(live) -> None:
    live.fill(range(2))
    flip(live.path("train", 0))
    looked = []
    look_at = live.look_at

    def quarantined_meanwhile(split: str, number: int) -> object:
        looked.append(number)
        try:
            return look_at(split, number)
        finally:
            if number == 0:
                live.quarantine(live.path(split, number), "by a consumer")

    live.look_at = quarantined_meanwhile
    kinds = [kind for kind, _ in found(live)]
    assert looked == [0, 1] and kinds == ["gap"]  # nobody makes it again


def test_a_foreign_pipe_is_not_read(finite) -> None:
    os.mkfifo(finite.directory / "train" / "pipe.parquet")
    assert found(finite) == [("foreign", "train/pipe.parquet")]


def test_a_file_of_a_huge_number_does_not_fill_the_memory(live) -> None:
    live.fill(range(2))
    shutil.copy(live.path("train", 1), live.path("train", 10**12))
    found = audit(live, live.meta()).findings
    assert [finding.kind for finding in found] == ["duplicate", "gap"]
    assert queue_status(live.directory).next_number == 2
