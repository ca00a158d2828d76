"""A store finds what was kept or nothing, never fails a run that has begun, and has a bound."""

import logging
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from namespaces import PYTHONPATH, run_with_mounts
from torch import Tensor

from synthenticity.errors import ConfigError
from synthenticity.runtimes import row_store
from synthenticity.runtimes.row_store import MEBIBYTE, RowStore

Rows = dict[bytes, Tensor]


def rows(number: int = 0, count: int = 20, places: int = 10, width: int = 64) -> Rows:
    generator = torch.Generator().manual_seed(number)
    return {
        b"%08d%08d" % (number, row): torch.rand(places, width, generator=generator)
        for row in range(count)
    }


def found(store: RowStore, asked: Rows) -> int:
    """Return how many rows are found, all of them right."""
    there = store.find(list(asked))
    assert all(torch.equal(there[key], asked[key]) for key in there)
    return len(there)


def change(path: Path, statement: str, *values: object) -> None:
    file = sqlite3.connect(path)
    with file:
        file.execute(statement, values)
    file.close()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_kept_is_found_by_another_store(tmp_path: Path, dtype: torch.dtype) -> None:
    kept = {key: own.to(dtype) for key, own in rows().items()}
    RowStore(tmp_path / "made", 1).keep(kept)
    store = RowStore(tmp_path / "made", 1)
    assert found(store, kept | rows(1)) == 20
    assert next(iter(store.find(list(kept)).values())).dtype == dtype


def test_a_damaged_value_and_one_under_anothers_key_are_missing(tmp_path: Path) -> None:
    store, kept = RowStore(tmp_path, 1), rows()
    store.keep(kept)
    damaged, misplaced, other, text, *_ = kept
    read = "(SELECT value FROM rows WHERE key = ?)"
    for statement, values in (
        (f"UPDATE rows SET value = substr({read}, 2) WHERE key = ?", (damaged, damaged)),
        (f"UPDATE rows SET value = {read} WHERE key = ?", (other, misplaced)),
        ("UPDATE rows SET value = 'words' WHERE key = ?", (text,)),
    ):
        change(store.path, statement, *values)
    assert kept.keys() - store.find(list(kept)).keys() == {damaged, misplaced, text}


def overwritten(path: Path) -> Callable[[], object]:
    content = path.read_bytes()
    path.write_bytes(content[:4096] + bytes([7]) * (len(content) - 4096))
    return lambda: path.write_bytes(content)


def held(path: Path) -> Callable[[], object]:
    other = sqlite3.connect(path)
    other.execute("BEGIN EXCLUSIVE")
    return other.close


def moved(path: Path) -> Callable[[], object]:
    aside = path.parent.rename(path.parent.with_name("aside"))
    return lambda: aside.rename(path.parent)


def made_by_another_version(path: Path) -> Callable[[], object]:
    change(path, "PRAGMA user_version=99")
    return lambda: change(path, f"PRAGMA user_version={row_store.FORMAT}")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (overwritten, "malformed"),
        (held, "locked"),
        (moved, "unable to open"),
        (made_by_another_version, "it has format 99, not 1"),
    ],
)
def test_what_fails_later_is_one_warning_and_nothing_found(
    fault: Callable[[Path], Callable[[], object]],
    said: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(row_store, "PATIENCE_SECONDS", 0.01)
    store = RowStore(tmp_path / "rows", 16)
    store.keep(rows())
    mend = fault(store.path)
    for _ in range(3):
        assert found(store, rows()) == 0
        store.keep(rows(1))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING and said in record.message
    mend()
    store.keep(rows(2))
    assert found(store, rows()) == 20 and found(store, rows(2)) == 20


def test_no_damage_makes_a_row_another_or_ends_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, rng, missing = RowStore(tmp_path, 1), random.Random(1), 0
    for number in range(4):
        store.keep(rows(number))
    content = store.path.read_bytes()
    for _ in range(200):
        damaged = bytearray(content)
        for place in rng.choices(range(len(content)), k=20) + rng.choices(range(4096 * 3), k=3):
            damaged[place] = rng.randrange(256)
        store.path.write_bytes(damaged)
        missing += 80 - sum(found(store, rows(number)) for number in range(4))
        store.keep(rows(5))
        found(store, rows(5))
        store.path.with_name("rows.sqlite-journal").unlink(missing_ok=True)
    assert missing > 200


def test_two_stores_on_one_folder_keep_its_file_within_the_bound(tmp_path: Path) -> None:
    stores = [RowStore(tmp_path, 1), RowStore(tmp_path, 1)]
    for number in range(60):
        store, other = stores[:: 1 if number % 2 else -1]
        store.keep(rows(number))
        assert store.path.stat().st_size <= MEBIBYTE
        assert found(other, rows(number)) == 20
    assert store.path.stat().st_size > 0.6 * MEBIBYTE
    assert list(tmp_path.iterdir()) == [store.path]
    assert found(store, rows(50)) == 20 and found(store, rows(0)) == 0


@pytest.mark.parametrize(("count", "places", "width"), [(300, 1, 32), (40, 3, 200), (2, 80, 600)])
def test_rows_of_any_size_keep_within_the_bound(
    count: int, places: int, width: int, tmp_path: Path
) -> None:
    store = RowStore(tmp_path, 1)
    for number in range(40):
        store.keep(rows(number, count, places, width))
        assert store.path.stat().st_size <= MEBIBYTE
        assert found(store, rows(number, count, places, width)) == count


def test_a_batch_larger_than_the_bound_displaces_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = RowStore(tmp_path, 1)
    store.keep(rows())
    large = rows(1, count=500)
    for _ in range(2):
        store.keep(large)
    assert store.path.stat().st_size <= MEBIBYTE
    assert found(store, rows()) == 20 and found(store, large) == 0
    (record,) = caplog.records
    assert "fill_cache_dir_mib: a batch of 500 rows takes" in record.message


def test_a_lowered_bound_makes_the_file_smaller(tmp_path: Path) -> None:
    store = RowStore(tmp_path, 4)
    for number in range(40):
        store.keep(rows(number))
    assert store.path.stat().st_size > 2 * MEBIBYTE
    store = RowStore(tmp_path, 1)
    assert store.path.stat().st_size <= MEBIBYTE
    assert found(store, rows(39)) == 20 and found(store, rows(0)) == 0


BEGIN_TOGETHER = """
import sys, time
from pathlib import Path
import torch
from synthenticity.runtimes.row_store import RowStore

place, own = Path(sys.argv[1]), int(sys.argv[2])
for attempt in range(100):
    folder = place / str(attempt)
    folder.mkdir(exist_ok=True)
    (folder / f"{own} is here").touch()
    while len(list(folder.glob("*is here"))) < 4:
        time.sleep(0)
    RowStore(folder, 1).keep({bytes([own]): torch.full((1, 1), float(own))})
"""


def test_processes_that_begin_at_once_share_a_new_file(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", BEGIN_TOGETHER, str(tmp_path), str(number)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": PYTHONPATH},
        )
        for number in range(4)
    ]
    try:
        for process in processes:
            said = process.communicate(timeout=100)[1]
            assert process.returncode == 0, said
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    for folder in tmp_path.iterdir():
        assert len(RowStore(folder, 1).find([bytes([number]) for number in range(4)])) == 4


def test_a_file_that_is_held_at_the_start_is_waited_for_not_to_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_store, "PATIENCE_SECONDS", 0.01)
    release = held(RowStore(tmp_path, 1).path)
    with pytest.raises(
        ConfigError, match=r"\(database is locked\)\. Wait for the process"
    ) as error:
        RowStore(tmp_path, 1)
    assert "Remove" not in str(error.value)
    release()
    RowStore(tmp_path, 1)


def test_a_file_that_is_no_store_is_refused_in_words_and_left(tmp_path: Path) -> None:
    file = tmp_path / "rows.sqlite"
    file.write_bytes(b"something else entirely, long enough to be read" * 99)
    with pytest.raises(ConfigError, match=r"rows\.sqlite cannot be used \(.*not a .*Remove the"):
        RowStore(tmp_path, 1)
    file.unlink()
    change(file, "CREATE TABLE recipes (dish TEXT)")
    content = file.read_bytes()
    with pytest.raises(ConfigError, match="has format 0, not 1"):
        RowStore(tmp_path, 1)
    assert file.read_bytes() == content


def test_a_store_of_another_version_is_refused_in_words(tmp_path: Path) -> None:
    made_by_another_version(RowStore(tmp_path, 1).path)
    with pytest.raises(ConfigError, match=r"it has format 99, not 1\)\. Remove the file, or name"):
        RowStore(tmp_path, 1)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        ConfigError, match=r"fill_cache_dir: .*Allow writing there, or name another"
    ):
        RowStore(tmp_path / "file", 1)


ON_A_SMALL_DISK = """
import logging, subprocess, sys
from pathlib import Path
import torch
from synthenticity.errors import ConfigError
from synthenticity.runtimes.row_store import RowStore

logging.basicConfig(stream=sys.stdout, format="%(message)s")
mount = Path(sys.argv[1])

def rows(number):
    return {b"%08d" % (10 * number + row): torch.rand(20, 256) for row in range(10)}

def found(number):
    return len(store.find(list(rows(number))))
"""
FULL = (
    ON_A_SMALL_DISK
    + """
store = RowStore(mount / "rows", 64)
for number in range(100):
    store.keep(rows(number))
print(found(0), found(99))
store = RowStore(mount / "rows", 64)
(mount / "rows" / "rows.sqlite").unlink()
store.keep(rows(99))
print(found(0), found(99))
"""
)
READ_ONLY = (
    ON_A_SMALL_DISK
    + """
store = RowStore(mount / "rows", 64)
store.keep(rows(0))
subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
for number in range(3):
    store.keep(rows(1))
print(found(0), found(1))
store = RowStore(mount / "rows", 64)
print(found(0), found(1))
try:
    RowStore(mount / "other", 64)
except ConfigError as error:
    print(error)
"""
)


def small_disk(tmp_path: Path) -> list[str]:
    (tmp_path / "mount").mkdir()
    return [f"mount -t tmpfs -o size=2m none {tmp_path / 'mount'}"]


def test_on_a_full_disk_what_was_kept_is_found_and_keeping_goes_on_with_space(
    tmp_path: Path,
) -> None:
    said = run_with_mounts(small_disk(tmp_path), FULL, tmp_path / "mount").splitlines()
    assert len(said) == 3, said
    assert "rows.sqlite fails (database or disk is full)" in said[0]
    assert said[0].endswith("Make room on its disk, or name another folder.")
    assert said[1:] == ["10 0", "0 10"]


def test_a_store_that_cannot_be_written_is_read_and_a_folder_without_one_is_refused(
    tmp_path: Path,
) -> None:
    said = run_with_mounts(small_disk(tmp_path), READ_ONLY, tmp_path / "mount").splitlines()
    assert len(said) == 4, said
    assert "rows.sqlite fails (attempt to write a readonly database)" in said[0]
    assert said[1:3] == ["10 0", "10 0"]
    assert "cannot be used" in said[3] and "Allow writing there, or name another" in said[3]
