"""The consumer: strict order, every sequence once, whatever the batch size."""

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from synthenticity.errors import (
    BatchFileError,
    CompatibilityError,
    ConfigError,
    ProviderTimeoutError,
    QueueError,
)
from synthenticity.stream import ownership
from synthenticity.stream.batch_queue import BatchQueue
from synthenticity.stream.dataset_consumer import DatasetConsumer

ROWS = 5


def rows_of(queue: BatchQueue, batches: int, batch_size: int, **options: object) -> list[list[int]]:
    """Return the row numbers of the first batches."""
    consumer = DatasetConsumer(
        queue.directory, batch_size=batch_size, columns=["row"], wait_seconds=5, **options
    )
    return [consumer.get_batch()["row"].tolist() for _ in range(batches)]


def flat(batches: list[list[int]]) -> list[int]:
    return [row for rows in batches for row in rows]


def test_files_come_in_the_order_of_their_numbers_not_of_their_making(live) -> None:
    for number in (2, 0, 1):
        live.fill(range(number, number + 1))
    assert flat(rows_of(live, 3, ROWS)) == list(range(15))


@settings(derandomize=True, deadline=None, max_examples=25)
@given(batch_size=st.integers(1, 13))
def test_no_sequence_is_repeated_or_left_out_at_any_batch_size(
    batch_size: int, new_live: Callable[[], BatchQueue]
) -> None:
    queue = new_live()
    queue.fill(range(4))
    batches = 20 // batch_size
    found = rows_of(queue, batches, batch_size)
    assert {len(rows) for rows in found} == {batch_size}
    assert flat(found) == list(range(batches * batch_size))


def test_two_readers_each_see_everything(live) -> None:
    live.fill(range(3))
    assert rows_of(live, 3, ROWS) == rows_of(live, 3, ROWS)


def test_evaluation_eats_no_train_files(live) -> None:
    live.fill(range(3))
    live.fill(range(1), "val")
    val = DatasetConsumer(live.directory, batch_size=2, split="val")
    for _ in range(7):
        val.get_batch()
    val.acknowledge(val.position)
    assert live.numbers("train") == [0, 1, 2]
    assert live.numbers("val") == [0]
    assert live.first_unacknowledged() == 0


def test_one_input_and_one_target_come_as_x_and_y(live) -> None:
    live.fill(range(1))
    x, y = DatasetConsumer(live.directory, batch_size=2).get_batch()
    assert x.dtype == torch.int64 and x.tolist() == [[0, 0], [1, 1]]
    assert y.dtype == torch.float32 and y.shape == (2,)


def test_other_schemas_come_as_a_dict(live) -> None:
    live.fill(range(1))
    consumer = DatasetConsumer(
        live.directory, batch_size=2, columns=["input_ids", "targets", "row"]
    )
    batch = consumer.get_batch()
    assert set(batch) == {"input_ids", "targets", "row"}
    assert batch["row"].dtype == torch.int64


def test_unknown_columns_are_refused_with_those_there(live) -> None:
    with pytest.raises(ConfigError, match=r"\['labels'\] are not in the data.*targets"):
        DatasetConsumer(live.directory, batch_size=1, columns=["labels"])


def test_a_position_says_everything_about_where_a_consumer_is(live) -> None:
    live.fill(range(3))
    assert rows_of(live, 2, 3, position=4) == [[4, 5, 6], [7, 8, 9]]


def test_a_live_consumer_begins_at_the_first_file_not_acknowledged(live) -> None:
    live.fill(range(3))
    consumer = DatasetConsumer(live.directory, batch_size=4)
    consumer.get_batch()
    consumer.acknowledge(consumer.position)
    assert live.numbers("train") == [0, 1, 2]  # four of five rows: the file is still needed
    consumer.get_batch()
    consumer.acknowledge(consumer.position)
    assert live.numbers("train") == [1, 2]
    assert rows_of(live, 1, 2) == [[5, 6]]


def test_a_file_that_another_run_let_go_of_is_not_waited_for(live) -> None:
    live.fill(range(2))
    consumer = DatasetConsumer(live.directory, batch_size=5, position=0, wait_seconds=5)
    live.acknowledge(1)
    with pytest.raises(QueueError, match="acknowledged and removed by another"):
        consumer.get_batch()


def epochs(queue: BatchQueue, count: int, **options: object) -> list[list[int]]:
    rows = flat(rows_of(queue, count * 4, ROWS, **options))
    return [rows[start : start + 20] for start in range(0, len(rows), 20)]


@settings(derandomize=True, deadline=None, max_examples=15)
@given(sizes=st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=3, max_size=3))
def test_the_slices_of_any_number_of_ranks_joined_are_the_stream(
    sizes: list[int], new_live: Callable[[], BatchQueue]
) -> None:
    """The number of ranks changes after every batch; a position means the same to all."""
    queue = new_live()
    queue.fill(range(8))
    found = []
    for batch, world_size in enumerate(sizes):
        for rank in range(world_size):
            share = {"position": batch * 12, "rank": rank, "world_size": world_size}
            found += flat(rows_of(queue, 1, 12, **share))
    assert found == list(range(36))


def test_each_rank_counts_the_whole_stream(live) -> None:
    live.fill(range(3))
    consumer = DatasetConsumer(live.directory, batch_size=4, columns=["row"], rank=1, world_size=2)
    assert consumer.get_batch()["row"].tolist() == [2, 3]
    assert consumer.position == 4
    assert consumer.get_batch()["row"].tolist() == [6, 7]


def test_a_batch_that_ranks_cannot_share_equally_is_refused(live) -> None:
    with pytest.raises(ConfigError, match="4 sequences cannot be shared equally by 3 processes"):
        DatasetConsumer(live.directory, batch_size=4, world_size=3)


def test_a_run_takes_back_what_it_let_go_of_itself_and_no_other_does(live) -> None:
    live.fill(range(3))
    ours = DatasetConsumer(live.directory, batch_size=5, columns=["row"], name="ours")
    ours.acknowledge(10)
    other = DatasetConsumer(live.directory, batch_size=5, name="other")
    with pytest.raises(QueueError, match=r"train file 1 was acknowledged .*\(ours\)"):
        other.take_back(7)
    assert not ours.take_back(10)
    assert live.first_unacknowledged() == 2
    assert ours.take_back(7)
    assert live.first_unacknowledged() == 1 and live.next_number() == 1
    live.fill(range(1, 3))
    ours.position = 5
    assert ours.get_batch()["row"].tolist() == [5, 6, 7, 8, 9]


def test_epochs_of_a_finite_set_are_different_orders_of_all_of_it(finite) -> None:
    found = epochs(finite, 3, seed=1)
    assert all(sorted(epoch) == list(range(20)) for epoch in found)
    assert len({tuple(epoch) for epoch in found}) == 3
    assert list(range(20)) not in found
    assert epochs(finite, 3, seed=1) == found
    assert epochs(finite, 3, seed=2) != found
    assert finite.numbers("train") == [0, 1, 2, 3]


def test_the_order_of_an_epoch_does_not_depend_on_the_batch_size(finite) -> None:
    wide, narrow = rows_of(finite, 5, 8, seed=3), rows_of(finite, 20, 2, seed=3)
    assert flat(wide) == flat(narrow)


def test_without_a_seed_a_finite_set_comes_in_file_order(finite) -> None:
    assert epochs(finite, 2) == [list(range(20))] * 2


def test_read_all_returns_a_fixed_set_in_file_order(finite) -> None:
    consumer = DatasetConsumer(finite.directory, batch_size=1, seed=4, columns=["row"])
    assert consumer.read_all()["row"].tolist() == list(range(20))
    first = DatasetConsumer(finite.directory, batch_size=1, columns=["row"], max_files=2)
    assert first.read_all()["row"].tolist() == list(range(10))


def test_a_live_split_has_no_end(live) -> None:
    live.fill(range(1))
    with pytest.raises(QueueError, match="has no end"):
        DatasetConsumer(live.directory, batch_size=1).read_all()


def test_a_gap_in_a_fixed_set_is_refused(finite) -> None:
    finite.path("train", 1).unlink()
    with pytest.raises(QueueError, match=r"files \[1\] are missing"):
        DatasetConsumer(finite.directory, batch_size=1)


def test_a_file_of_other_length_than_meta_says_is_refused(live) -> None:
    import dataclasses
    import json

    meta = dataclasses.replace(live.meta(), rows_per_file=6)
    (live.directory / "meta.json").write_text(json.dumps(meta.to_json()), encoding="utf-8")
    live.fill(range(1))
    with pytest.raises(BatchFileError, match=r"has 5 rows, .*says 6"):
        DatasetConsumer(live.directory, batch_size=1).get_batch()


def test_waiting_in_vain_says_how_to_start_a_provider(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(ProviderTimeoutError, match="synthenticity prepare CONFIG --out-dir"):
        DatasetConsumer(tmp_path / "none", batch_size=1, wait_seconds=0.05, on_wait=said.append)
    assert len(said) == 1 and "no provider has ever run for it" in said[0]


def test_a_queue_without_a_provider_says_so(live) -> None:
    with pytest.raises(ProviderTimeoutError, match=f"No provider is running for {live.directory}"):
        DatasetConsumer(live.directory, batch_size=1, wait_seconds=0.05).get_batch()


def test_waiting_says_when_a_silent_provider_was_last_alive(live) -> None:
    heartbeat = live.directory / ".queue" / "owner.json"
    heartbeat.parent.mkdir(exist_ok=True)
    heartbeat.write_text('{"pid": 77, "host": "h", "state": "making train 7"}', encoding="utf-8")
    os.utime(heartbeat, (time.time() - 100, time.time() - 100))
    with pytest.raises(
        ProviderTimeoutError, match=r"process 77 on h\) is dead; .* 100 s ago \(making"
    ):
        DatasetConsumer(live.directory, batch_size=1, wait_seconds=0.05).get_batch()


@pytest.mark.parametrize("how", ["read", "only waited for"])
def test_a_file_that_another_run_lets_go_of_meanwhile_ends_the_wait(live, how: str) -> None:
    consumer = DatasetConsumer(
        live.directory,
        batch_size=ROWS,
        wait_seconds=60,
        on_wait=lambda line: live.acknowledge(2, "another run"),
    )
    with pytest.raises(QueueError, match="train file 0 was acknowledged and removed by another"):
        consumer.get_batch() if how == "read" else consumer.wait_until_there(0)


def test_a_directory_made_anew_under_a_consumer_is_not_read_on(live) -> None:
    live.fill(range(2))
    consumer = DatasetConsumer(live.directory, batch_size=ROWS, columns=["row"], wait_seconds=5)
    consumer.get_batch()
    shutil.rmtree(live.directory)
    live.put_meta(live.make_meta(made_with={"seed": 2, "corpus": "x"}))
    live.fill(range(2))
    with pytest.raises(CompatibilityError, match="made it anew with another configuration"):
        consumer.get_batch()
    assert live.numbers("train") == [0, 1]


@pytest.mark.parametrize("state", ["waiting for disk space", "making train 0"])
def test_a_living_provider_is_waited_for_without_a_word(state: str, live) -> None:
    said: list[str] = []
    with live.owned() as ownership:
        ownership.report(state)
        with pytest.raises(ProviderTimeoutError, match=f"is alive: {state}"):
            DatasetConsumer(
                live.directory, batch_size=1, wait_seconds=0.05, on_wait=said.append
            ).get_batch()
    assert said == []


def test_a_stop_ends_a_wait(live) -> None:
    stop = threading.Event()
    consumer = DatasetConsumer(live.directory, batch_size=1, stop=stop)
    threading.Timer(0.1, stop.set).start()
    with pytest.raises(KeyboardInterrupt):
        consumer.get_batch()


def test_the_end_of_the_provider_ends_a_wait(live) -> None:
    def complain() -> None:
        raise QueueError("the provider ended: out of ink")

    with pytest.raises(QueueError, match="out of ink"):
        DatasetConsumer(live.directory, batch_size=1, while_waiting=complain).get_batch()


def test_a_waiting_consumer_never_sees_a_half_written_file(
    live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer pauses between writing and linking; the reader polls all the while."""
    flushed = threading.Event()
    real = os.fsync

    def slow_fsync(descriptor: int) -> None:
        flushed.set()
        time.sleep(0.2)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", slow_fsync)
    writer = threading.Thread(target=live.fill, args=(range(1),))
    writer.start()
    assert flushed.wait(5)
    assert live.numbers("train") == []
    assert rows_of(live, 1, ROWS) == [list(range(ROWS))]
    writer.join()
    assert not (live.directory / "quarantine").exists()


def test_a_damaged_file_is_waited_for_until_it_is_made_again(live) -> None:
    live.fill(range(1))
    path = live.path("train", 0)
    path.write_bytes(path.read_bytes()[:100])
    remake = threading.Timer(0.3, live.fill, args=(range(1),))
    remake.start()
    assert rows_of(live, 1, ROWS) == [list(range(ROWS))]
    remake.join()


def test_row_numbers_stay_exact_beyond_16_bits(live) -> None:
    number = 20_000
    live.fill(range(number, number + 1))
    rows = rows_of(live, 1, ROWS, position=number * ROWS)
    assert rows == [np.arange(number * ROWS, number * ROWS + ROWS).tolist()]


def test_reading_all_and_reading_on_do_not_disturb_each_other(finite) -> None:
    consumer = DatasetConsumer(finite.directory, batch_size=5, columns=["row"], seed=3)
    first = consumer.get_batch()["row"].tolist()
    assert consumer.read_all()["row"].tolist() == list(range(20))
    again = DatasetConsumer(finite.directory, batch_size=5, columns=["row"], seed=3)
    assert again.read_all()["row"].tolist() == list(range(20))
    assert again.get_batch()["row"].tolist() == first
    assert again.get_batch()["row"].tolist() == consumer.get_batch()["row"].tolist()


def test_a_finite_set_in_the_making_is_waited_for(finite) -> None:
    finite.announce(6, ["train"])
    with finite.owned():
        timer = threading.Timer(0.3, lambda: finite.fill(range(4, 6)))
        timer.start()
        assert DatasetConsumer(finite.directory, batch_size=1, wait_seconds=10).files == 6


def test_a_finite_set_with_a_file_of_a_huge_number_is_refused_in_few_words(finite) -> None:
    (finite.directory / "val" / "val-99999999999.parquet").write_bytes(b"foreign")
    with pytest.raises(QueueError, match=r"files \[1\] are missing"):
        DatasetConsumer(finite.directory, batch_size=1, split="val", wait_seconds=1)


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_val_set_of_which_a_file_is_gone_is_waited_for_not_evaluated_in_part(
    live, gone: int
) -> None:
    live.announce(3, ["val"])
    live.fill(range(3), "val")
    live.fill(range(1))
    live.path("val", gone).unlink()

    def make_again(line: str) -> None:
        live.fill(range(gone, gone + 1), "val")

    consumer = DatasetConsumer(
        live.directory, batch_size=1, split="val", wait_seconds=60, on_wait=make_again
    )
    assert consumer.files == 3


def test_a_finite_set_that_nobody_completes_is_refused_at_once(finite) -> None:
    finite.announce(6, ["train"])
    words = r"has no complete train set, and nobody is making it.*prepare CONFIG --files 6 "
    with pytest.raises(QueueError, match=words):
        DatasetConsumer(finite.directory, batch_size=1, wait_seconds=60)
    assert DatasetConsumer(finite.directory, batch_size=1, max_files=4).files == 4


def test_a_split_that_was_never_made_is_named_with_its_option(finite) -> None:
    finite.announce(6, ["train"])
    words = r"has no complete test set.*prepare CONFIG --files 6 --splits test --out-dir"
    with pytest.raises(QueueError, match=words):
        DatasetConsumer(finite.directory, batch_size=1, split="test", wait_seconds=60)


def test_a_damaged_file_of_a_finite_set_is_refused_at_once(finite) -> None:
    consumer = DatasetConsumer(finite.directory, batch_size=5, wait_seconds=60)
    path = finite.path("train", 1)
    path.write_bytes(path.read_bytes()[:-20])
    consumer.get_batch()
    with pytest.raises(QueueError, match="has no train file 1, and nobody is making it"):
        consumer.get_batch()


def test_a_provider_whose_clock_is_another_is_known_by_its_beats(
    finite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its beats look old here; a set that it is still making is waited for all the same."""
    finite.announce(6, ["train"])
    monkeypatch.setattr(ownership, "BEAT_SECONDS", 0.2)
    with finite.owned():
        monkeypatch.setattr(ownership.time, "time", lambda: time.monotonic() + 10**10)
        assert not finite.owner().alive
        timer = threading.Timer(1.0, lambda: finite.fill(range(4, 6)))
        timer.start()
        assert DatasetConsumer(finite.directory, batch_size=1, wait_seconds=20).files == 6
        timer.join()
