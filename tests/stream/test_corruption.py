"""No damage to a batch file is ever read as other data: every bit, every byte, every length.

Each damaged file gets a verdict: *refused* (a `BatchFileError`), *harmless* (identity and every
column as they were written) or *silent* (anything else was read), and none may be silent, whether
or not the reader says which file it expects. An error of another kind ends the test.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sample_file import IDENTITY, SCHEMA, columns, encoded, equal

from synthenticity.errors import BatchFileError
from synthenticity.stream.batch_file import (
    BatchFile,
    BatchSchema,
    Column,
    Identity,
    encode_batch_file,
    read_batch_file,
)

GOOD = encoded()
OTHER = encode_batch_file({**columns(), "place": [7, 9]}, SCHEMA, Identity("f" * 32, "train", 8))
BLOCK = 512


def flipped_bits(good: bytes) -> Iterator[bytes]:
    for place in range(len(good)):
        for bit in range(8):
            yield good[:place] + bytes([good[place] ^ (1 << bit)]) + good[place + 1 :]


def set_bytes(good: bytes) -> Iterator[bytes]:
    for value in (b"\x00", b"\xff"):
        for place in range(len(good)):
            if good[place : place + 1] != value:
                yield good[:place] + value + good[place + 1 :]


def cuts(good: bytes) -> Iterator[bytes]:
    yield from (good[:length] for length in range(len(good)))


def zeroed_ends(good: bytes) -> Iterator[bytes]:
    """A file whose length reached the disk and whose end did not, as after a power cut."""
    yield from (good[:length].ljust(len(good), b"\x00") for length in range(len(good)))


def zeroed_blocks(good: bytes) -> Iterator[bytes]:
    for start in range(0, len(good), BLOCK):
        end = min(start + BLOCK, len(good))
        yield good[:start] + bytes(end - start) + good[end:]


def extended(good: bytes) -> Iterator[bytes]:
    for length in range(1, 65):
        yield good + bytes(length)
        yield good + good[:length]
        yield good + good[-length:]
    yield good + good


def joined(good: bytes) -> Iterator[bytes]:
    """One file's beginning and another's end, of the same schema."""
    for length in range(1, len(good)):
        for content in (
            good[:length] + OTHER[length:],
            good[:length] + OTHER[-(len(good) - length) :],
        ):
            if content != good:  # where the two begin or end alike
                yield content


WAYS = [flipped_bits, set_bytes, cuts, zeroed_ends, zeroed_blocks, extended, joined]


def same(found: BatchFile, wanted: BatchFile) -> bool:
    return found.identity == wanted.identity and equal(found.columns, wanted.columns)


def verdict(path: Path, content: bytes, expected: Identity | None, truths: list[BatchFile]) -> str:
    path.write_bytes(content)
    try:
        found = read_batch_file(path, expected)
    except BatchFileError:
        return "refused"
    return "harmless" if any(same(found, truth) for truth in truths) else "silent"


def truth_of(path: Path, content: bytes) -> BatchFile:
    path.write_bytes(content)
    return read_batch_file(path)


def verdicts(folder: Path, damaged: Iterator[bytes], step: int) -> Counter[tuple[str, str]]:
    """Read each damaged file without an expectation, every `step`-th with one as well.

    An expectation is compared last, so what is refused without is refused with it; what is not is
    read both ways whatever the step.
    """
    truth, other = truth_of(folder / "good", GOOD), truth_of(folder / "other", OTHER)
    found: Counter[tuple[str, str]] = Counter()
    for number, content in enumerate(damaged):
        assert content != GOOD
        unnamed = verdict(folder / "bad", content, None, [truth, other])
        found["unnamed", unnamed] += 1
        if unnamed != "refused" or number % step == 0:
            found["named", verdict(folder / "bad", content, IDENTITY, [truth])] += 1
    return found


def check_verdicts(way, found: Counter[tuple[str, str]]) -> None:
    assert not found["named", "silent"] and not found["unnamed", "silent"]
    if way is not extended:  # a file that is there twice is read once
        assert found["unnamed", "refused"] > found["unnamed", "harmless"]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_no_damage_is_read_as_other_data(way, memory_path: Path) -> None:
    check_verdicts(way, verdicts(memory_path, way(GOOD), step=7))


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_no_damage_is_read_as_other_data_with_and_without_a_name(way, memory_path: Path) -> None:
    found = verdicts(memory_path, way(GOOD), step=1)
    check_verdicts(way, found)
    assert found.total() % 2 == 0


def test_every_cut_and_every_zeroed_block_is_refused(memory_path: Path) -> None:
    for way in (cuts, zeroed_blocks):
        for content in way(GOOD):
            assert verdict(memory_path / "bad", content, None, []) == "refused"


@pytest.mark.parametrize(
    "other",
    [Identity("e" * 32, "train", 7), Identity("f" * 32, "val", 7), Identity("f" * 32, "train", 8)],
    ids=["fingerprint", "split", "number"],
)
def test_a_right_file_in_a_wrong_place_is_refused(other: Identity, memory_path: Path) -> None:
    content = encode_batch_file(columns(), SCHEMA, other)
    truth = truth_of(memory_path / "good", content)
    assert verdict(memory_path / "bad", content, IDENTITY, [truth]) == "refused"
    assert verdict(memory_path / "bad", content, None, [truth]) == "harmless"


def test_foreign_parquet_files_are_refused(memory_path: Path) -> None:
    table = pq.read_table(pa.BufferReader(GOOD))
    bare = table.replace_schema_metadata(None)
    wrong = [table.replace_schema_metadata({b"synthenticity": text}) for text in foreign_metadata()]
    for number, foreign in enumerate([bare, pa.table({"ids": [1, 2]}), *wrong]):
        path = memory_path / f"{number}.parquet"
        pq.write_table(foreign, path)
        for expected in (None, IDENTITY):
            assert verdict(path, path.read_bytes(), expected, []) == "refused"


def foreign_metadata() -> list[bytes]:
    """Return what somebody else could have written under our key."""
    deep = b"[" * 100_000 + b"]" * 100_000
    words = b'{"format_version": 2, "checksum": "x", "digests": []}'
    huge = b'{"format_version": ' + b"9" * 5000 + b"}"
    return [b"", b"{}", b"[]", b"null", b"1", b"\xff", b"NaN", words, huge, deep]


@pytest.mark.slow
def test_no_damage_to_a_file_of_real_size_is_read_as_other_data(memory_path: Path) -> None:
    """800 sequences of 256 tokens: 10,000 flipped bits, and 1,000 cuts, at places drawn."""
    rng = np.random.default_rng(4)
    schema = BatchSchema((Column("ids", "int64", (256,), "input", "uint16"),))
    data = {"ids": rng.integers(0, 30_522, (800, 256))}
    good = encode_batch_file(data, schema, IDENTITY)
    truth = truth_of(memory_path / "good", good)
    found: Counter[str] = Counter()
    for place in rng.integers(0, len(good) * 8, 10_000).tolist():
        content = bytearray(good)
        content[place // 8] ^= 1 << (place % 8)
        found[verdict(memory_path / "bad", bytes(content), IDENTITY, [truth])] += 1
    for length in rng.integers(0, len(good), 1_000).tolist():
        assert verdict(memory_path / "bad", good[:length], IDENTITY, [truth]) == "refused"
    assert found["silent"] == 0
    assert found["refused"] > 9_000
