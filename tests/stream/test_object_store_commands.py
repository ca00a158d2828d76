"""The commands on a finite data set of an object store: as on a directory."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from synthenticity.cli import GOOD, USER_ERROR, run
from synthenticity.config import Config
from synthenticity.config_file import load_config, write_config
from synthenticity.evaluation.evaluate import Effort, evaluate
from synthenticity.providers.prepare import prepare
from synthenticity.training.train import train

FILES = 2


@pytest.fixture
def settings(tiny: Config, tmp_path: Path) -> Config:
    return dataclasses.replace(tiny, dataset="char_diffusion", model_mode="language_model")


def prepared(settings: Config, url: str, folder: Path, *options: str) -> Path:
    """Make a set on the store by the command, and return its config file."""
    config = folder / "config.toml"
    write_config(settings, config)
    command = ["prepare", str(config), "--files", str(FILES), "--out-dir", url]
    assert run([*command, *options]) == GOOD
    return config


def everything_in(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
def test_prepare_makes_the_objects_that_a_directory_would_hold(
    settings: Config, server: Any, new_url: str, tmp_path: Path, options: tuple[str, ...]
) -> None:
    config = prepared(settings, new_url, tmp_path, *options)
    prepare(load_config(config), tmp_path / "set", files=FILES)
    here, there = everything_in(tmp_path / "set"), server.objects(new_url)
    of_this_machine = {name for name in here if name.startswith(("tensorboard/", ".queue/owner."))}
    assert here.keys() - there.keys() == of_this_machine
    differing = {name for name in there if there[name] != here[name]}
    assert differing == {"summary.json"}  # seconds


def test_train_ends_with_the_same_weights(settings: Config, new_url: str, tmp_path: Path) -> None:
    config = prepared(settings, new_url, tmp_path)
    far = ["train", str(config), "--data_dir", new_url, "--out_dir", str(tmp_path / "far")]
    assert run([*far, "--dataloader_num_workers", "2"]) == GOOD
    prepare(settings, tmp_path / "set", files=FILES)
    train(dataclasses.replace(settings, data_dir=str(tmp_path / "set")), tmp_path / "near")
    weights = [tmp_path / run / "model.safetensors" for run in ("far", "near")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_looking_at_a_set_works_as_with_a_directory(
    settings: Config, server: Any, new_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(settings, new_url, tmp_path)
    capsys.readouterr()
    assert run(["status", new_url, "--json"]) == GOOD
    status = json.loads(capsys.readouterr().out)
    assert (status["directory"], status["who_waits"]) == (new_url, "complete")
    assert status["files"] == {"train": FILES, "val": FILES}
    assert run(["inspect", new_url, "--json"]) == GOOD
    assert json.loads(capsys.readouterr().out)["statistics"]["train"]["files"] == FILES
    assert run(["validate", new_url, "--remake", "1"]) == GOOD
    bad = f"{new_url}/train/train-00000001.parquet"
    server.files.pipe_file(bad, b"rotten")
    assert run(["validate", new_url]) != GOOD
    assert bad in capsys.readouterr().out
    server.files.rm(bad)
    assert run(["status", new_url]) == GOOD
    assert "1 file is missing" in capsys.readouterr().out


@pytest.fixture
def names(settings: Config, new_url: str, tmp_path: Path) -> dict[str, str]:
    """What the words in capitals stand for in the commands below."""
    write_config(settings, tmp_path / "config.toml")
    return {"CONFIG": str(tmp_path / "config.toml"), "URL": new_url, "D": str(tmp_path / "d")}


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["prepare", "CONFIG", "--out-dir", "URL"], "cannot keep a live queue"),
        (["train", "CONFIG", "--data_dir", "URL", "--prepare"], "cannot keep the live queue"),
        (["validate", "URL", "--repair"], "nothing is moved or replaced"),
        (["prepare", "CONFIG", "--files", "1", "--out-dir", "D", "--staging", "S"], "no effect"),
        (["status", "URL"], "holds no batch files"),
        (["inspect", "URL"], "holds no batch files"),
        (["validate", "URL"], "holds no data set"),
    ],
)
def test_what_a_store_cannot_do_is_said(
    names: dict[str, str], capsys: pytest.CaptureFixture[str], command: list[str], said: str
) -> None:
    assert run([names.get(word, word) for word in command]) == USER_ERROR
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told


def test_evaluate_says_the_same(
    scorer_path: Path, scorer_config: Config, server: Any, new_url: str
) -> None:
    server.files.put(scorer_config.data_dir + "/", new_url + "/", recursive=True)
    effort = Effort(times=20, leaks=False)
    near = evaluate([scorer_path], [Path(scorer_config.data_dir)], effort=effort).to_json()
    far = evaluate([scorer_path], [new_url], effort=effort).to_json()
    assert far["rows"][0].pop("name") == "set"
    near["rows"][0].pop("name")
    assert far == near
