"""Rows that repeat are read once, whatever is kept or lost, and the same is said of them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.overrides import TorchFunctionMode

from synthenticity.runtimes import row_cache
from synthenticity.runtimes.devices import processor
from synthenticity.runtimes.row_cache import RowCache
from synthenticity.runtimes.row_store import MEBIBYTE, RowStore

LENGTH, WIDTH = 32, 64


class TensorsMade(TorchFunctionMode):
    """Counts the copies that are made of tensors."""

    clones = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.clones += func is Tensor.clone
        return func(*args, **kwargs or {})


class CountingRuntime:
    """Says of a place what stands there, and counts the rows that it reads."""

    arithmetic = "counting"
    batch_invariant = True

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        self.read, self.dtype = 0, dtype

    def hidden_at(
        self, ids: NDArray[np.int64], places: NDArray[np.bool_], visible: NDArray[np.bool_]
    ) -> Tensor:
        self.read += len(ids)
        rows = (
            ids.sum(axis=1, keepdims=True) + np.arange(LENGTH) + 1000 * visible.sum(axis=1)[:, None]
        )
        return torch.as_tensor(rows[places])[:, None].expand(-1, WIDTH).to(self.dtype)


def batch(count: int, seed: int = 0) -> tuple[NDArray, NDArray, NDArray]:
    rng = np.random.default_rng(seed)
    places = rng.random((count, LENGTH)) < 0.3
    places[:, 0] = True
    return rng.integers(0, 50, places.shape), places, np.ones_like(places)


def asked(cache: RowCache, runtime: CountingRuntime, rows: tuple) -> Tensor:
    expected = CountingRuntime(runtime.dtype).hidden_at(*rows)
    found = cache.hidden_at(runtime, *rows)
    assert found.dtype == expected.dtype and torch.equal(found, expected)
    return found


def test_rows_that_repeat_are_read_once_within_a_batch_and_after() -> None:
    cache, runtime, rows = RowCache(), CountingRuntime(), batch(6)
    repeated = tuple(values[[0, 1, 0, 2, 1, 3]] for values in rows)
    asked(cache, runtime, repeated)
    assert (runtime.read, cache.rows, cache.hits) == (4, 6, 2)
    asked(cache, runtime, rows)
    assert (runtime.read, cache.rows, cache.hits) == (6, 12, 6)
    asked(cache, runtime, rows)
    assert runtime.read == 6


def test_a_row_is_another_with_other_ids_places_or_padding() -> None:
    cache, runtime, (ids, places, visible) = RowCache(), CountingRuntime(), batch(1)
    asked(cache, runtime, (ids, places, visible))
    other_ids, other_places, other_visible = ids.copy(), places.copy(), visible.copy()
    other_ids[0, 3] += 1
    other_places[0, 3] ^= True
    other_visible[0, -1] = False
    for rows in (
        (other_ids, places, visible),
        (ids, other_places, visible),
        (ids, places, other_visible),
    ):
        asked(cache, runtime, rows)
    assert runtime.read == 4 and cache.hits == 0


def test_what_the_caller_does_to_rows_does_not_reach_the_cache() -> None:
    cache, runtime, rows = RowCache(), CountingRuntime(), batch(3)
    asked(cache, runtime, rows).zero_()
    asked(cache, runtime, rows).zero_()
    asked(cache, runtime, rows)
    assert runtime.read == 3


def test_memory_is_bounded_and_the_longest_unused_go_first() -> None:
    cache, runtime = RowCache(1), CountingRuntime()
    one = tuple(values[:1] for values in batch(1))
    for seed in range(60):
        asked(cache, runtime, batch(20, seed))
        asked(cache, runtime, one)
        assert sum(own.nbytes for own in cache._kept.values()) <= MEBIBYTE
    assert len(cache._kept) < 1200 and runtime.read == 60 * 20 + 1
    before = runtime.read
    asked(cache, runtime, batch(20, 1))
    assert runtime.read == before + 20


def test_rows_of_a_runtime_that_looks_at_neighbours_are_not_kept() -> None:
    cache, runtime = RowCache(), CountingRuntime()
    runtime.batch_invariant = False
    asked(cache, runtime, batch(3))
    asked(cache, runtime, batch(3))
    assert runtime.read == 6 and cache.hits == 0


def test_a_cache_of_nothing_keeps_nothing() -> None:
    cache, runtime = RowCache(0), CountingRuntime()
    asked(cache, runtime, batch(3))
    asked(cache, runtime, batch(3))
    assert runtime.read == 6 and not cache._kept


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_store_outlives_the_process_and_tells_models_apart(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    for model, read in (("one", 5), ("one", 0), ("other", 5), ("one", 0)):
        runtime, store = CountingRuntime(dtype), RowStore(tmp_path / "rows", 16)
        asked(RowCache(0, store, model), runtime, batch(5))
        assert runtime.read == read


@pytest.mark.parametrize("name", ["ROWS_FORMAT", "processor", "version", "arithmetic"])
def test_a_store_tells_apart_what_decides_the_bits(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, read = RowStore(tmp_path, 16), []
    for other in (False, True, False):
        runtime = CountingRuntime()
        with monkeypatch.context() as changed:
            if other and name == "arithmetic":
                runtime.arithmetic = "counting otherwise"
            elif other:
                replaced = 99 if name == "ROWS_FORMAT" else lambda *_: "another"
                changed.setattr(row_cache, name, replaced)
            row_cache._here.cache_clear()
            asked(RowCache(0, store), runtime, batch(5))
        read.append(runtime.read)
    row_cache._here.cache_clear()
    assert read == [5, 5, 0]


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() == "DEFAULT", reason="there is one instruction set"
)
def test_a_processor_is_named_by_the_instructions_that_are_used() -> None:
    code = "from synthenticity.runtimes.devices import processor; print(processor())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "ATEN_CPU_CAPABILITY": "default"},
    )
    assert done.stdout.strip() != processor()
    known = done.stdout.strip().replace("DEFAULT", torch.backends.cpu.get_cpu_capability())
    assert known == processor()


def test_of_a_batch_larger_than_memory_only_what_fits_is_copied() -> None:
    cache, runtime = RowCache(1), CountingRuntime()
    large = batch(600)
    for _ in range(2):
        with TensorsMade() as made:
            asked(cache, runtime, large)
        assert made.clones < 600
        assert sum(own.nbytes for own in cache._kept.values()) <= MEBIBYTE
    assert 0 < cache.hits == 1200 - runtime.read < 600
