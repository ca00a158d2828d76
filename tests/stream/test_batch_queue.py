"""The queue: whole files or none, growing numbers, a bounded backlog, one owner."""

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.dataset
import pytest

from synthenticity.errors import CompatibilityError, QueueError, QueueOwnedError
from synthenticity.stream.batch_file import BatchSchema
from synthenticity.stream.batch_queue import BatchQueue


def all_names(queue: BatchQueue) -> list[str]:
    """Return every file of the directory outside `.queue` bookkeeping."""
    files = (path for path in queue.directory.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(queue.directory)) for path in files)


def test_a_commit_never_replaces_a_file(live) -> None:
    assert live.put("train", 0, live.content("train", 0))
    before = live.path("train", 0).read_bytes()
    assert not live.put("train", 0, b"other content")
    assert live.path("train", 0).read_bytes() == before
    assert all_names(live) == ["meta.json", "train/train-00000000.parquet"]


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_failing_commit_leaves_nothing(call: str, live, monkeypatch: pytest.MonkeyPatch) -> None:
    fired = []

    def fail(*_arguments: object, **_named: object) -> None:
        fired.append(call)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match="No space left"):
            live.put("train", 0, live.content("train", 0))
    assert fired == [call]
    assert all_names(live) == ["meta.json"]
    assert live.put("train", 0, live.content("train", 0))


def test_a_file_half_written_by_a_killed_process_is_never_seen(live) -> None:
    code = (
        "import os, signal; from synthenticity import faults\n"
        "from synthenticity.stream.batch_queue import BatchQueue\n"
        "kill = lambda: os.kill(os.getpid(), signal.SIGKILL)\n"
        "faults.watch(lambda name: name == 'aside.half_written' and kill())\n"
        f"BatchQueue({str(live.directory)!r}).put('train', 0, b'x' * 100)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    assert live.numbers("train") == []
    assert [name for name in all_names(live) if "tmp" in name]
    with live.owned():  # the next provider clears up
        assert not [name for name in all_names(live) if "tmp" in name]


def test_the_backlog_is_bounded(live) -> None:
    made = []
    while (number := live.next_number()) is not None:
        live.fill(range(number, number + 1))
        made.append(number)
    assert made == [0, 1, 2]
    assert live.backlog() == 3
    live.acknowledge(2)
    assert live.next_number() == 3
    assert live.numbers("train") == [2]


def test_numbers_go_on_after_a_restart_on_an_empty_queue(live) -> None:
    live.fill(range(3))
    live.acknowledge(3)
    assert live.numbers("train") == []
    restarted = BatchQueue(live.directory, max_backlog_files=3)
    assert restarted.next_number() == 3


def test_acknowledgement_never_goes_back(live) -> None:
    live.fill(range(3))
    live.acknowledge(2)
    live.acknowledge(1)
    assert live.first_unacknowledged() == 2
    assert live.numbers("train") == [2]


def test_a_finite_data_set_is_never_consumed(finite) -> None:
    finite.acknowledge(3)
    assert finite.numbers("train") == [0, 1, 2, 3]
    assert finite.first_unacknowledged() == 0


def test_val_files_are_never_consumed(live) -> None:
    live.fill(range(2), "val")
    live.fill(range(2))
    live.acknowledge(2)
    assert live.numbers("val") == [0, 1]


def damage(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-20])


def test_a_damaged_file_goes_to_quarantine_and_is_made_again(live) -> None:
    live.fill(range(2))
    good = live.path("train", 0).read_bytes()
    damage(live.path("train", 0))
    assert live.get("train", 0) is None
    assert live.next_number() == 0
    reasons = list((live.directory / "quarantine").glob("*.reason"))
    assert len(reasons) == 1
    assert "train-00000000.parquet" in reasons[0].read_text(encoding="utf-8")
    assert len(list((live.directory / "quarantine").glob("*.bad"))) == 1
    live.fill(range(1))
    assert live.path("train", 0).read_bytes() == good
    assert live.get("train", 0) is not None


def test_a_right_file_under_a_wrong_number_goes_to_quarantine(live) -> None:
    live.fill(range(1))
    live.path("train", 0).rename(live.path("train", 1))
    assert live.get("train", 1) is None
    assert live.numbers("train") == []


def test_a_second_owner_is_refused_and_told_who_owns(live) -> None:
    with live.owned(), pytest.raises(QueueOwnedError, match=f"process {os.getpid()}"):  # noqa: SIM117
        with BatchQueue(live.directory).owned():
            pass
    with BatchQueue(live.directory).owned():
        assert live.owner().alive
    assert live.owner() is None


def test_a_killed_owner_does_not_block_the_next(live) -> None:
    code = (
        "import time; from synthenticity.stream.batch_queue import BatchQueue\n"
        f"with BatchQueue({str(live.directory)!r}).owned():\n"
        "    print('owned', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline()
        with pytest.raises(QueueOwnedError), live.owned():
            pass
        process.kill()
        process.wait()
        time.sleep(0.05)
        with live.owned():
            assert live.owner().pid == os.getpid()


def test_another_configuration_is_refused_with_the_differing_keys(live) -> None:
    other = live.make_meta(made_with={"seed": 2, "corpus": "x", "extra": True})
    with pytest.raises(CompatibilityError) as caught:
        live.put_meta(other)
    assert "seed is 1 there and 2 here" in str(caught.value)
    assert "extra is None there and True here" in str(caught.value)
    assert "corpus" not in str(caught.value)


def test_a_live_queue_and_a_finite_set_do_not_mix(live) -> None:
    with pytest.raises(CompatibilityError, match="live directory and this run wants a finite"):
        live.put_meta(live.make_meta(kind="finite"))


def edit(key: str, value: object) -> Callable[[str], str]:
    return lambda text: json.dumps({**json.loads(text), key: value})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[:50], "cannot be read"),
        (lambda text: "[]", "is not the meta file"),
        (edit("format_version", 9), "format version 9.*works with 2"),
        (edit("made_with", {"seed": 5}), "was edited"),
    ],
)
def test_a_damaged_meta_file_is_refused(change: Callable[[str], str], words: str, live) -> None:
    path = live.directory / "meta.json"
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(QueueError, match=words):
        live.meta()


def test_a_damaged_acknowledgement_is_refused(live) -> None:
    live.fill(range(2))
    live.acknowledge(1)
    (live.directory / ".queue" / "acknowledged.json").write_text("{", encoding="utf-8")
    with pytest.raises(QueueError, match=r"acknowledged\.json: is damaged"):
        live.next_number()


def test_the_directory_is_an_ordinary_data_set_for_others(
    live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    live.fill(range(3))
    live.fill(range(1), "val")
    damage(live.path("train", 1))
    assert live.get("train", 1) is None
    (live.directory / ".queue" / "tmp").mkdir(exist_ok=True)
    (live.directory / ".queue" / "tmp" / "train-00000001.parquet.99").write_bytes(b"half")
    found = datasets.load_dataset(str(live.directory), cache_dir=str(tmp_path / "cache"))
    assert {split: found[split].num_rows for split in found} == {"train": 10, "validation": 5}
    assert found["train"]["row"][:] == [*range(5), *range(10, 15)]
    table = pyarrow.dataset.dataset(live.directory / "train").to_table()
    assert table.column("row").to_pylist() == [*range(5), *range(10, 15)]


def test_data_of_another_form_are_refused_with_the_differing_keys(live) -> None:
    meta = live.meta()
    others = {
        "rows_per_file is 5 there and 6 here": {"rows_per_file": 6},
        "meta training_type is 'TEST' there and 'MLM' here": {"task": {"training_type": "MLM"}},
        "batch_schema is": {"schema": BatchSchema(meta.schema.columns[:2])},
    }
    for words, changes in others.items():
        other = dataclasses.replace(meta, **changes)
        assert other.fingerprint != meta.fingerprint
        with pytest.raises(CompatibilityError, match=words):
            live.put_meta(other)


def test_what_was_announced_never_gets_less_and_is_refused_when_damaged(live) -> None:
    with live.owned():
        live.announce(4, ["train", "val"])
        live.announce(2, ["train"])
    assert live.announced("train") == live.announced("val") == 4
    assert live.announced("test") == 0
    (live.directory / ".queue" / "announced.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(QueueError, match=r"announced\.json: is damaged"):
        live.announced("train")


def test_a_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one(
    live, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.fill(range(2))
    asked = []

    def fail(*arguments: object) -> None:
        asked.append(arguments)
        raise PermissionError(errno.EACCES, "Permission denied")

    for name in ("scandir", "listdir"):
        monkeypatch.setattr(os, name, fail)
    with pytest.raises(PermissionError):
        live.numbers("train")
    assert asked


def test_a_self_test_that_was_killed_does_not_stop_the_next_of_its_number(live) -> None:
    """In a container, the process before had the same number."""
    for which, place in (("a", ".queue/tmp"), ("b", "train")):
        (live.directory / place).mkdir(exist_ok=True)
        (live.directory / place / f".self-test-{which}.{os.getpid()}").write_bytes(b"1")
    assert len(live.temporaries()) == 2
    with live.owned():
        assert live.temporaries() == []


def test_files_on_disk_count_whatever_their_numbers(live) -> None:
    """As when a provider comes back with a smaller backlog."""
    live.fill(range(3))
    live.path("train", 1).unlink()
    smaller = BatchQueue(live.directory, max_backlog_files=2)
    assert smaller.next_number() is None
    smaller.acknowledge(1)
    assert smaller.next_number() == 1  # the consumer waits for it: made whatever is there


def test_a_directory_removed_under_its_provider_is_not_made_anew_by_halves(live) -> None:
    content = live.content("train", 0)
    live.put("train", 0, content)
    live.directory.rename(live.directory.with_name("moved"))
    with pytest.raises(QueueError, match="was removed or moved under its provider"):
        live.put("train", 1, content)
    assert not live.directory.exists()


def test_a_directory_in_the_place_of_a_file_is_put_aside(live) -> None:
    live.path("train", 0).mkdir(parents=True)
    assert live.get("train", 0) is None
    assert live.numbers("train") == [] and live.next_number() == 0


@pytest.mark.parametrize("number", [-5, 2.7, True, 1e300, 10**30])
def test_an_acknowledgement_by_hand_must_be_the_number_of_a_file(number: object, live) -> None:
    content = {"first_unacknowledged": number, "by": "", "recent": []}
    (live.directory / ".queue").mkdir(exist_ok=True)
    (live.directory / ".queue" / "acknowledged.json").write_text(json.dumps(content))
    with pytest.raises(QueueError, match=r"acknowledged\.json: is damaged .*no number of a file"):
        live.next_number()


def test_files_beyond_the_window_make_way_for_those_needed_first(live) -> None:
    """As after a consumer took back what it had acknowledged, while workers were at later files."""
    live.fill(range(3))
    live.acknowledge(3, "run")
    live.rewind(0, "run")
    for number in (0, 4, 5):
        live.put("train", number, live.content("train", number))
    assert live.next_number() is None
    live.withdraw()
    assert live.numbers("train") == [0] and live.next_number() == 1


def test_a_provider_says_how_many_files_it_lets_wait(live) -> None:
    assert live.bound(7) == 7
    with BatchQueue(live.directory, max_backlog_files=4).owned():
        assert live.bound(7) == 4


def test_a_directory_among_the_temporaries_stops_nobody(live) -> None:
    (live.directory / ".queue" / "tmp" / "x").mkdir(parents=True)
    with live.owned():
        assert live.temporaries() == []
