"""Finite data sets on an object store: whole or not there, made once, verified, never replaced.

Against a real S3 server (moto's) on this machine; reset connections, refusals and deaths are real.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import object_maker
import pytest
from object_maker import FINITE_META, made_here, make
from object_server import ObjectServer, cut_connection, half_read, refusal, s3fs
from pipeline import ROWS, content_of, rows_of

from synthenticity import faults
from synthenticity.errors import (
    BatchFileError,
    CompatibilityError,
    ConfigError,
    MissingExtraError,
    ProviderTimeoutError,
    QueueError,
    QueueOwnedError,
)
from synthenticity.stream.batch_queue import BatchQueue
from synthenticity.stream.dataset_consumer import DatasetConsumer
from synthenticity.stream.meta import LIVE
from synthenticity.stream.object_set import ObjectSet
from synthenticity.stream.object_store import TRIES, ObjectStore
from synthenticity.stream.staged_set import StagedSet

FILES = 3
BROKEN = refusal("500 Internal Server Error", "InternalError")
BUSY = refusal("503 Slow Down", "SlowDown")
FORBIDDEN = refusal("403 Forbidden", "AccessDenied")


@pytest.fixture
def url(new_url: str) -> Iterator[str]:
    yield new_url
    faults.watch(None)


def put_by_hand(server: ObjectServer, url: str, name: str, content: bytes) -> None:
    server.files.pipe_file(f"{url}/{name}", content)


def batch_files(server: ObjectServer, url: str) -> dict[str, bytes]:
    found = server.objects(url)
    return {name: content for name, content in found.items() if name.endswith(".parquet")}


def run_maker(url: str, *death: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, object_maker.__file__, url, str(FILES), *death],
        stderr=subprocess.PIPE,
        text=True,
    )


# Making.


def test_objects_are_the_files_of_a_local_set_and_nothing_stays_staged(
    server: ObjectServer, url: str, tmp_path: Path
) -> None:
    queue = StagedSet(url)
    make(queue, FILES)
    assert batch_files(server, url) == made_here(tmp_path / "here", FILES)
    assert list(queue.directory.glob("*/*.parquet")) == []
    small = {"meta.json", ".queue/announced.json", "tokenizer/tokenizer.json"}
    assert server.objects(url).keys() - batch_files(server, url).keys() == small


def test_whoever_sees_the_meta_file_knows_what_will_come(server: ObjectServer, url: str) -> None:
    seen = []

    def watch(_: str) -> None:
        reader = ObjectSet(url)
        if reader.meta() is not None:
            seen.append(reader.announced("train"))

    faults.watch(watch)
    make(StagedSet(url), FILES)
    assert set(seen) == {FILES}


def test_more_files_are_added_to_those_that_are_there(
    server: ObjectServer, url: str, tmp_path: Path
) -> None:
    make(StagedSet(url), 1)
    make(StagedSet(url, tmp_path / "of another machine"), FILES)
    assert batch_files(server, url) == made_here(tmp_path / "here", FILES)
    put = [name for name in server.puts(url) if name.endswith(".parquet")]
    assert len(put) == len(set(put)) == FILES
    assert ObjectSet(url).announced("train") == FILES


@pytest.mark.parametrize("fault", [cut_connection, BROKEN, BUSY], ids=["cut", "500", "503"])
@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_what_passes_is_tried_again(
    server: ObjectServer, url: str, tmp_path: Path, fault: object, method: str
) -> None:
    server.fail(method, "train-00000001", fault, times=TRIES - 1)
    make(StagedSet(url), FILES)
    assert server.faults_left == 0
    assert batch_files(server, url) == made_here(tmp_path / "here", FILES)


def test_what_does_not_pass_ends_with_a_message_and_the_same_call_goes_on(
    server: ObjectServer, url: str, tmp_path: Path
) -> None:
    server.fail("PUT", "train-00000001", BUSY, times=TRIES)
    with pytest.raises(QueueError, match=r"train-00000001.*cannot be written.*SlowDown.*5 times"):
        make(StagedSet(url), FILES)
    queue = StagedSet(url)
    assert queue.staged.numbers("train") == [1]
    make(queue, FILES)
    assert batch_files(server, url) == made_here(tmp_path / "here", FILES)


def test_an_answer_that_gets_lost_is_no_other_writer(server: ObjectServer, url: str) -> None:
    app = server._app

    def lose(environ: dict[str, object]) -> None:
        list(app(environ, lambda *_: None))
        cut_connection({**environ, "CONTENT_LENGTH": "0"})

    server.fail("PUT", "train-00000001", lose)
    make(StagedSet(url), FILES)
    assert server.faults_left == 0
    assert ObjectSet(url).numbers("train") == [0, 1, 2]


@pytest.mark.parametrize("times", [1, TRIES])
def test_no_right_to_write_is_one_line_at_once(server: ObjectServer, url: str, times: int) -> None:
    server.fail("PUT", "train-00000000", FORBIDDEN, times=times)
    with pytest.raises(QueueError, match=r"train-00000000.*cannot be written \(Permission") as told:
        make(StagedSet(url), FILES)
    assert server.faults_left == times - 1
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("opened", [StagedSet, ObjectSet])
def test_a_bucket_that_is_not_there_is_said_at_once(url: str, opened: type[ObjectSet]) -> None:
    with pytest.raises(QueueError, match="there is no bucket not-made"):
        opened("s3://not-made/set").meta()


@pytest.mark.parametrize(
    "point", ["commit.named", "store.announced", "store.staged", "store.uploaded", "store.released"]
)
def test_killed_between_two_steps_the_same_call_makes_the_rest(
    server: ObjectServer, url: str, tmp_path: Path, point: str
) -> None:
    nth = 1 if point == "store.announced" else 2
    dead = run_maker(url, point, str(nth))
    dead.communicate(timeout=60)
    assert dead.returncode == -signal.SIGKILL
    make(StagedSet(url), FILES)
    assert batch_files(server, url) == made_here(tmp_path / "here", FILES)
    put = [name for name in server.puts(url) if name.endswith(".parquet")]
    assert len(put) == len(set(put)) == FILES


def test_killed_in_the_middle_of_an_upload_no_half_is_ever_seen(
    server: ObjectServer, url: str, tmp_path: Path
) -> None:
    makers: list[subprocess.Popen[str]] = []
    listed: list[list[int]] = []
    over = threading.Event()

    def kill(environ: dict[str, object]) -> None:
        half_read(environ)
        makers[0].kill()
        makers[0].wait(timeout=60)
        listed.append(ObjectSet(url).numbers("train"))
        with suppress(OSError):  # the real server meets what is left of the request
            list(server._app(environ, lambda *_: None))
        listed.append(ObjectSet(url).numbers("train"))
        over.set()

    server.fail("PUT", "train-00000001", kill)
    makers.append(run_maker(url))
    makers[0].communicate(timeout=60)
    assert makers[0].returncode == -signal.SIGKILL
    assert over.wait(60)
    assert listed == [[0], [0]]
    make(StagedSet(url), FILES)
    assert batch_files(server, url) == made_here(tmp_path / "here", FILES)


def test_no_part_of_an_upload_in_parts_is_seen_before_all_are(
    server: ObjectServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    megabyte = 2**20
    in_parts_of_5 = (5 * megabyte, None, "overwrite")
    monkeypatch.setattr(s3fs.S3FileSystem._pipe_file, "__defaults__", in_parts_of_5)
    store, seen = ObjectStore(url), []

    def cut(environ: dict[str, object]) -> None:
        assert "partNumber" in environ["QUERY_STRING"]
        seen.append(store.sizes())
        cut_connection(environ)

    content = bytes(range(256)) * (12 * megabyte // 256)
    server.fail("PUT", "large", cut)
    assert store.put_new("large", content)
    assert seen == [{}]
    assert store.sizes() == {"large": 12 * megabyte}


def test_a_file_that_was_damaged_while_staged_is_made_again(
    server: ObjectServer, url: str, tmp_path: Path
) -> None:
    server.fail("PUT", "train-00000001", BROKEN, times=TRIES)
    with pytest.raises(QueueError):
        make(StagedSet(url), FILES)
    queue = StagedSet(url)
    queue.path("train", 1).write_bytes(b"rotten")
    make(queue, FILES)
    assert batch_files(server, url) == made_here(tmp_path / "here", FILES)


def test_a_reader_sees_whole_files_only_at_every_moment_of_a_run(
    server: ObjectServer, url: str
) -> None:
    lengths = set()

    def read_all(*_: object) -> None:
        reader = ObjectSet(url)
        numbers = reader.numbers("train")
        lengths.add(len(numbers))
        for number in numbers:
            file = reader.look_at("train", number)
            assert file is not None
            assert file.columns["row"].tolist() == rows_of(number * ROWS, ROWS)["row"].tolist()

    def read_while_half_is_sent(environ: dict[str, object]) -> None:
        half_read(environ)
        read_all()
        cut_connection({**environ, "CONTENT_LENGTH": "0"})

    faults.watch(lambda name: read_all() if name.startswith("store.") else None)
    server.fail("PUT", "train-00000002", read_while_half_is_sent)
    make(StagedSet(url), FILES)
    assert lengths == {0, 1, 2, 3}
    assert server.faults_left == 0


def test_two_makers_of_the_same_set_do_no_harm(
    server: ObjectServer, url: str, tmp_path: Path
) -> None:
    other = StagedSet(url, tmp_path / "of another machine")

    def race(name: str) -> None:
        if name == "store.staged":
            faults.watch(None)
            make(other, FILES)

    faults.watch(race)
    make(StagedSet(url), FILES)
    assert batch_files(server, url) == made_here(tmp_path / "here", FILES)
    put = [name for name in server.puts(url) if name.endswith(".parquet")]
    assert len(put) == len(set(put))


def test_a_second_maker_on_the_same_machine_is_refused(url: str) -> None:
    with StagedSet(url).owned(), pytest.raises(QueueOwnedError, match="another provider"):
        make(StagedSet(url), FILES)


def test_another_configuration_is_refused_and_changes_nothing(
    server: ObjectServer, url: str
) -> None:
    make(StagedSet(url), FILES)
    before = server.objects(url)
    other = replace(FINITE_META, made_with={"seed": 2})
    with pytest.raises(CompatibilityError, match=r"s3://.*another configuration: seed is 1 there"):
        make(StagedSet(url), FILES, other)
    assert server.objects(url) == before


def test_a_set_that_was_removed_may_be_made_smaller(server: ObjectServer, url: str) -> None:
    make(StagedSet(url), FILES)
    server.files.rm(url, recursive=True)
    make(StagedSet(url), FILES - 1)
    assert ObjectSet(url).announced("train") == FILES - 1
    assert consumer_of(url).read_all()["ids"].shape[0] == ROWS * (FILES - 1)


def test_what_is_staged_of_a_set_that_was_removed_does_not_stand_in_the_way(
    server: ObjectServer, url: str
) -> None:
    server.fail("PUT", "train-00000001", BROKEN, times=TRIES)
    with pytest.raises(QueueError):
        make(StagedSet(url), FILES)
    server.files.rm(url, recursive=True)
    other = replace(FINITE_META, made_with={"seed": 2})
    make(StagedSet(url), FILES, other)
    assert ObjectSet(url).look_at("train", 1).identity.fingerprint == other.fingerprint


def test_an_object_in_the_place_of_one_of_ours_is_never_replaced(
    server: ObjectServer, url: str
) -> None:
    put_by_hand(server, url, "train/train-00000001.parquet", b"of somebody")
    queue = StagedSet(url)
    with queue.owned():
        queue.put_meta(FINITE_META)
        queue.announce(FILES, ["train"])
        with pytest.raises(CompatibilityError, match=r"train-00000001.parquet: is there already"):
            queue.put("train", 1, content_of(1, "train", FINITE_META))
    assert server.objects(url)["train/train-00000001.parquet"] == b"of somebody"


def test_a_prefix_with_objects_of_others_is_refused(server: ObjectServer, url: str) -> None:
    put_by_hand(server, url, "README.md", b"mine")
    with pytest.raises(ConfigError, match=r"some/set: holds README.md, which prepare did not make"):
        StagedSet(url).check_place(["README.md", "train"])


# Reading.


@pytest.fixture
def made(url: str) -> str:
    make(StagedSet(url), FILES)
    return url


def consumer_of(url: str, **settings: object) -> DatasetConsumer:
    return DatasetConsumer(url, batch_size=2, wait_seconds=0.0, **settings)


def test_a_consumer_reads_what_it_reads_of_a_directory(made: str, tmp_path: Path) -> None:
    made_here(tmp_path / "here", FILES)
    far, near = consumer_of(made, seed=3), consumer_of(tmp_path / "here", seed=3)
    assert far.rows_per_epoch == near.rows_per_epoch == FILES * ROWS
    for _ in range(2 * FILES * ROWS // 2):  # two epochs
        np.testing.assert_array_equal(far.get_batch()[0], near.get_batch()[0])


def test_files_are_downloaded_once_and_read_from_the_cache_then(
    server: ObjectServer, made: str
) -> None:
    first = consumer_of(made).read_all()
    server.log.clear()
    again = consumer_of(made).read_all()
    np.testing.assert_array_equal(first["ids"], again["ids"])
    assert [path for _, path, _ in server.log if path.endswith(".parquet")] == []


def test_the_cache_keeps_its_bound_and_nothing_is_missed(
    made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(content_of(0, "train", FINITE_META))
    monkeypatch.setenv("SYNTHENTICITY_CACHE_GB", str(2.5 * size / 1e9))
    consumer = consumer_of(made)
    for _ in range(2):
        assert consumer.read_all()["ids"].shape[0] == FILES * ROWS
    kept = list(consumer.queue.directory.glob("*/*.parquet"))
    assert 0 < sum(path.stat().st_size for path in kept) <= 2.5 * size


@pytest.mark.parametrize("damage", ["bit", "cut", "renamed"])
def test_a_damaged_object_is_downloaded_twice_and_named(
    server: ObjectServer, made: str, damage: str
) -> None:
    name = "train/train-00000001.parquet"
    content = bytearray(server.objects(made)[name])
    if damage == "bit":
        content[40] ^= 1  # in the first column
    elif damage == "cut":
        del content[-20:]
    else:
        content = bytearray(server.objects(made)["train/train-00000002.parquet"])
    put_by_hand(server, made, name, bytes(content))
    server.log.clear()
    with pytest.raises(QueueError, match=rf"{made}/{name}: is .*Remove"):
        consumer_of(made).read_all()
    assert [path.endswith(name) for _, path, _ in server.log].count(True) >= 2
    with pytest.raises(BatchFileError, match=rf"{made}/{name}"):
        ObjectSet(made).look_at("train", 1)
    with pytest.raises(QueueError, match=name):  # nor does the maker take it for made
        StagedSet(made).get("train", 1)
    assert server.objects(made)[name] == bytes(content)


def test_a_copy_that_was_damaged_is_downloaded_again(made: str) -> None:
    consumer = consumer_of(made)
    before = consumer.read_all()["ids"]
    consumer.queue.path("train", 1).write_bytes(b"rotten")
    np.testing.assert_array_equal(consumer_of(made).read_all()["ids"], before)


def test_a_reader_waits_for_a_set_that_is_not_complete(server: ObjectServer, url: str) -> None:
    server.fail("PUT", "train-00000001", BROKEN, times=TRIES)
    with pytest.raises(QueueError):
        make(StagedSet(url), FILES)
    with pytest.raises(ProviderTimeoutError, match=r"no complete train set.*--files 3 --out-dir"):
        consumer_of(url)


def test_a_live_queue_on_a_store_is_refused(url: str, server: ObjectServer, tmp_path: Path) -> None:
    BatchQueue(tmp_path / "live").put_meta(replace(FINITE_META, kind=LIVE))
    put_by_hand(server, url, "meta.json", (tmp_path / "live" / "meta.json").read_bytes())
    with pytest.raises(QueueError, match=r"is a live queue.*Use a local directory"):
        consumer_of(url)


def test_an_opened_set_can_be_read_in_a_forked_process(made: str) -> None:
    consumer = consumer_of(made)
    child = os.fork()
    if not child:
        good = consumer.read_all()["ids"].shape[0] == FILES * ROWS
        os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0


# Opening.


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for protocol, package, extra in (("gs", "gcsfs", "gs"), ("abfs", "adlfs", "abfs")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingExtraError, match=rf'pip install "synthenticity\[{extra}\]"'):
            ObjectStore(f"{protocol}://bucket/set")


@pytest.mark.parametrize(
    ("url", "said"),
    [("nonsense://bucket/set", "Protocol not known"), ("file:///tmp/set", "Give its path")],
)
def test_what_no_store_is_is_refused(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ObjectStore(url)
