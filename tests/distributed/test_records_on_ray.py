"""`fill` and `score` on a Ray cluster: the bytes of one process, in the corpus's order."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from synthenticity import cli
from synthenticity.config import Config
from synthenticity.distributed.cluster import Cluster
from synthenticity.records import chunks
from synthenticity.records.run import FillProgress, fill_corpus
from synthenticity.records.scores import ScoreProgress, score_corpus
from synthenticity.text.reading import CorpusSource


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("letters") / "letters.jsonl"
    rows = [
        {"id": f"n{n}", "text": " ".join(["the king fell on stone"] * (1 + n % 5))}
        for n in range(700)
    ]
    rows.insert(300, {"id": "empty", "text": " "})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK", 50)


def on(nodes: Any) -> Cluster:
    return Cluster(address=nodes.address, least=2, most=2)


@pytest.fixture(scope="module")
def model(family: Callable[[str], Path]) -> Path:
    return family("bert-cased")


@pytest.mark.usefixtures("small_chunks")
def test_a_cluster_fills_the_same_records_also_when_an_actor_is_killed(
    nodes: Any,
    actors: Any,
    letters: Path,
    model: Path,
    tmp_path: Path,
) -> None:
    config = Config(
        corpus=str(letters),
        id_column="id",
        mlm_checkpoint_path=model.name,
        mask_probability_range=(0.0, 0.6),
        untouched_share=0.0,
    )

    def kill(progress: FillProgress) -> None:
        if not actors.killed and progress.documents >= 100:
            actors.kill(actors.find()[0])

    with contextlib.chdir(model.parent):  # relative names go into the records as they are given
        fill_corpus(config, tmp_path / "here.parquet")
        fill_corpus(config, tmp_path / "there.parquet", cluster=on(nodes), on_progress=kill)
    assert actors.killed
    here, there = (tmp_path / f"{name}.parquet" for name in ("here", "there"))
    assert here.read_bytes() == there.read_bytes()
    (name,) = set(pq.read_table(there)["mlm"].to_pylist())
    assert name.partition("@")[0] == model.name


@pytest.mark.usefixtures("small_chunks")
def test_a_cluster_scores_the_same_rows_also_when_a_node_is_killed(
    nodes: Any,
    letters: Path,
    scorer_path: Path,
    tmp_path: Path,
) -> None:
    source = CorpusSource(source=str(letters), id_column="id")
    killed = []

    def kill(progress: ScoreProgress) -> None:
        if not killed and progress.documents >= 100:
            killed.append(next(iter(nodes.worker_nodes)))
            nodes.remove_node(killed[0], allow_graceful=False)
            nodes.add_node(num_cpus=1)

    score_corpus(scorer_path, source, tmp_path / "here.parquet", device="cpu")
    score_corpus(
        scorer_path,
        source,
        tmp_path / "there.parquet",
        device="cpu",
        pages=tmp_path / "pages",
        cluster=on(nodes),
        on_progress=kill,
    )
    assert killed
    here, there = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("here", "there"))
    assert here.equals(there) and len(here) == 700
    assert len(list((tmp_path / "pages").iterdir())) == 701


DRIVER = """
import os, signal, sys
from synthenticity.distributed.cluster import Cluster
from synthenticity.records import chunks
from synthenticity.records.scores import score_corpus
from synthenticity.text.reading import CorpusSource

def kill(progress):
    if progress.new_documents >= 150:
        os.kill(os.getpid(), signal.SIGKILL)

chunks.CHUNK = 50
run, source, out, address = sys.argv[1:]
score_corpus(run, CorpusSource(source=source, id_column="id"), out, device="cpu",
             cluster=Cluster(address=address), on_progress=kill)
"""


@pytest.mark.usefixtures("small_chunks")
def test_a_driver_that_was_killed_scores_nothing_twice(
    nodes: Any,
    letters: Path,
    scorer_path: Path,
    tmp_path: Path,
) -> None:
    source = CorpusSource(source=str(letters), id_column="id")
    here, there = (tmp_path / f"{name}.parquet" for name in ("here", "there"))
    score_corpus(scorer_path, source, here, device="cpu")
    given = [str(scorer_path), str(letters), str(there), nodes.address]
    died = subprocess.run([sys.executable, "-c", DRIVER, *given], capture_output=True, check=False)
    assert died.returncode == -9, died.stderr
    result = score_corpus(scorer_path, source, there, device="cpu", cluster=on(nodes))
    assert 0 < result.progress.new_documents <= 700 - 150
    assert here.read_bytes() == there.read_bytes()


def test_score_takes_a_cluster_from_the_command_line(
    nodes: Any, letters: Path, scorer_path: Path, tmp_path: Path
) -> None:
    given = ["score", str(scorer_path), str(letters), "--out", str(tmp_path / "o.csv")]
    assert cli.run([*given, "--ray", nodes.address]) == cli.GOOD
    assert len((tmp_path / "o.csv").read_text(encoding="utf-8").splitlines()) == 701
