"""A damaged file that waits is put aside once, with its reason, and made again: same stream."""

from pathlib import Path

import pipeline
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthenticity.errors import BatchFileError
from synthenticity.stream.batch_file import Identity, read_batch_file
from synthenticity.stream.batch_queue import BatchQueue

NUMBER = 1
FILES = 3
GOOD = pipeline.content_of(NUMBER)
SAMPLED = range(0, len(GOOD), 97)


def flipped(place: int) -> bytes:
    return GOOD[:place] + bytes([GOOD[place] ^ 0x10]) + GOOD[place + 1 :]


WAYS = {
    **{f"flip at {place}": flipped(place) for place in SAMPLED},
    **{f"cut at {length}": GOOD[:length] for length in SAMPLED},
    **{f"zeros from {length}": GOOD[:length].ljust(len(GOOD), b"\0") for length in SAMPLED},
    **{f"zero block {n}": GOOD[:n] + bytes(512) + GOOD[n + 512 :] for n in (0, 512, 1024)},
    "extended": GOOD + b"more",
    "joined": GOOD[:800] + pipeline.content_of(2)[800:],
    "another number": pipeline.content_of(2),
    "another split": pipeline.content_of(NUMBER, "val"),
    "foreign": b"PAR1 what somebody else wrote PAR1",
}


def is_refused(content: bytes, path: Path) -> bool:
    path.write_bytes(content)
    try:
        read_batch_file(path, Identity(pipeline.META.fingerprint, "train", NUMBER))
    except BatchFileError:
        return True
    return False


@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_file_is_put_aside_and_made_again(
    way: str, memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = is_refused(WAYS[way], memory_path / "alone")
    damaged = []

    def damage(path: Path) -> None:
        path.write_bytes(WAYS[way])
        damaged.append(path)

    monkeypatch.setattr(pipeline, "damage", damage)
    state = pipeline.run(memory_path, FILES, damaged=(NUMBER,))
    assert [path.name for path in damaged] == ["train-00000001.parquet"]
    if not refused:  # a bit that carries nothing
        assert way.startswith("flip")
        assert state == pipeline.reference(FILES)
        return
    pipeline.check(memory_path, state, FILES, (NUMBER,))
    quarantine = memory_path / "queue" / "quarantine"
    assert sorted(path.name for path in quarantine.iterdir()) == [
        "train00000001.0.bad",
        "train00000001.0.reason",
    ]
    assert (quarantine / "train00000001.0.bad").read_bytes() == WAYS[way]
    reason = (quarantine / "train00000001.0.reason").read_text(encoding="utf-8")
    assert str(damaged[0]) in reason


def test_most_of_the_damages_are_refused(tmp_path: Path) -> None:
    refused = [way for way, content in WAYS.items() if is_refused(content, tmp_path / "alone")]
    assert len(refused) > 0.8 * len(WAYS)


def test_what_is_damaged_twice_is_put_aside_twice(tmp_path: Path) -> None:
    queue = BatchQueue(tmp_path / "queue")
    queue.put_meta(pipeline.META)
    for _ in range(2):
        queue.put("train", 0, b"nothing")
        assert queue.get("train", 0) is None
    names = {path.name for path in (queue.directory / "quarantine").glob("*.bad")}
    assert names == {"train00000000.0.bad", "train00000000.1.bad"}
    assert queue.next_number() == 0


def test_want_of_memory_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = BatchQueue(tmp_path / "queue")
    queue.put_meta(pipeline.META)
    queue.put("train", 0, GOOD)
    asked = []

    def too_large(*arguments: object, **named: object) -> None:
        asked.append(arguments)
        raise pa.ArrowMemoryError("malloc of size 536870912 failed")

    monkeypatch.setattr(pq, "ParquetFile", too_large)
    with pytest.raises(MemoryError, match="536870912"):
        queue.get("train", 0)
    assert asked and queue.numbers("train") == [0]
    assert not (queue.directory / "quarantine").exists()
