"""Damage to the small JSON files of a queue: a clear error or no effect, never another stream.

Every bit of every byte is flipped, every byte becomes each of those that keep JSON whole, and
every length is cut. The error must be one of ours: it names the file and what to do.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pipeline
import pytest

from synthenticity.errors import QueueError
from synthenticity.stream.batch_queue import BatchQueue
from synthenticity.stream.dataset_consumer import DatasetConsumer
from synthenticity.stream.meta import FINITE

LIKELY = b'0179.eE-+ "a,:{}[]\x00'


def damages(good: bytes) -> Iterator[bytes]:
    for place in range(len(good)):
        for value in {*LIKELY, *(good[place] ^ (1 << bit) for bit in range(8))} - {good[place]}:
            yield good[:place] + bytes([value]) + good[place + 1 :]
        yield good[:place]


def outcomes(path: Path, ask: Callable[[], object]) -> Counter[str]:
    """Damage a file in each way; say whether the answer was an error or the right one."""
    good = path.read_bytes()
    truth = ask()
    found: Counter[str] = Counter()
    for content in damages(good):
        path.write_bytes(content)
        try:
            answer = ask()
        except QueueError as error:
            assert str(path) in str(error)
            found["refused"] += 1
            continue
        assert answer == truth, content
        found["harmless"] += 1
    path.write_bytes(good)
    assert ask() == truth
    return found


@pytest.fixture
def queue(memory_path: Path) -> BatchQueue:
    """A queue that a pipeline has used."""
    pipeline.run(memory_path, 3, damaged=())
    return BatchQueue(memory_path / "queue")


def test_damage_to_meta_json_is_refused_or_without_effect(queue: BatchQueue) -> None:
    def ask() -> tuple[object, ...]:
        meta = queue.meta()
        return meta.fingerprint, meta.schema, meta.kind, meta.rows_per_file, meta.task

    found = outcomes(queue.directory / "meta.json", ask)
    assert found["refused"] > 0.8 * found.total()


def test_damage_to_acknowledged_json_is_refused_or_without_effect(queue: BatchQueue) -> None:
    found = outcomes(queue.private / "acknowledged.json", queue.acknowledgement)
    assert found["refused"] > 0.8 * found.total()


def test_damage_to_announced_json_is_refused_or_without_effect(queue: BatchQueue) -> None:
    queue.announce(12, ["train", "val"])
    found = outcomes(
        queue.private / "announced.json", lambda: [queue.announced(s) for s in ("train", "val")]
    )
    assert found["refused"] > 0.8 * found.total()


def test_damage_to_owner_json_never_ends_anything(queue: BatchQueue) -> None:
    """It only makes messages less precise: no error at all, and no other right to own."""
    with queue.owned() as ownership:
        ownership.report("making train 7", files_made=7, seconds=1.5, workers=2)
        path = queue.private / "owner.json"
        good = path.read_bytes()
        asked = 0
        for content in damages(good):
            path.write_bytes(content)
            owner = queue.owner()
            assert owner is None or (owner.name and owner.alive in (True, False))
            asked += 1
        path.write_bytes(good)
        assert asked > 8 * len(good)
        assert queue.owner().files_made == 7


def test_a_damaged_record_never_leads_to_another_stream(queue: BatchQueue) -> None:
    """Through the consumer, which begins where the acknowledgement says."""
    right = DatasetConsumer(queue.directory, batch_size=1).position
    path = queue.private / "acknowledged.json"
    good = path.read_text(encoding="utf-8")
    assert '"first_unacknowledged": 3' in good
    for number in (0, 1, 2, 4, 5, 33):
        path.write_text(good.replace(": 3,", f": {number},", 1), encoding="utf-8")
        with pytest.raises(QueueError, match="checksum does not fit"):
            DatasetConsumer(queue.directory, batch_size=1)
    path.write_text(good, encoding="utf-8")
    assert DatasetConsumer(queue.directory, batch_size=1).position == right == 9


def test_an_acknowledgement_written_by_hand_is_taken_at_its_word(queue: BatchQueue) -> None:
    """As the error about a damaged one says."""
    text = '{"first_unacknowledged": 2, "by": "", "recent": []}'
    (queue.private / "acknowledged.json").write_text(text, encoding="utf-8")
    assert queue.first_unacknowledged() == 2


def test_a_kind_of_directory_that_does_not_exist_is_refused(queue: BatchQueue) -> None:
    """It is no part of the fingerprint, and a live queue must not be read as a finite set."""
    path = queue.directory / "meta.json"
    content = path.read_text(encoding="utf-8")
    path.write_text(content.replace('"kind": "live"', '"kind": "lave"'), encoding="utf-8")
    with pytest.raises(QueueError, match=r"meta\.json: is damaged"):
        DatasetConsumer(queue.directory, batch_size=1)
    assert FINITE not in content
