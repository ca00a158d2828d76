"""Processes that share a model out learn what one learns, and leave what one leaves."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from faulty import run_with_fault
from runs import stopped_at, weights
from test_ranks import TWO, run_by_two
from transformers import AutoModelForMaskedLM, Trainer, TrainingArguments

from synthenticity.config import Config
from synthenticity.config_file import write_config
from synthenticity.errors import ConfigError
from synthenticity.scoring.scorer import Scorer
from synthenticity.training.checkpoint_files import newest_checkpoint
from synthenticity.training.sequence_scorer import IDENTITY_MAP
from synthenticity.training.sharding import layers
from synthenticity.training.stream_trainer import StreamTrainer
from synthenticity.training.train import train


@pytest.fixture
def sharded(long_run: Config) -> Config:
    return dataclasses.replace(long_run, dropout=0.0, shard_model=True)


def norms(out: Path) -> list[float]:
    """Return the norms of the gradients that a run has reported."""
    state = json.loads((newest_checkpoint(out)[0] / "trainer_state.json").read_text("utf-8"))
    return [entry["grad_norm"] for entry in state["log_history"] if "grad_norm" in entry]


def learnt_alike(config: Config, out: Path, alone: Path) -> bool:
    """Train in one go by one process, and compare."""
    train(dataclasses.replace(config, shard_model=False), alone)
    theirs, ours = weights(alone), weights(out)
    assert theirs.keys() == ours.keys()
    assert norms(out) == pytest.approx(norms(alone), rel=1e-3)
    assert all(theirs[name].dtype == ours[name].dtype for name in ours)
    return all(torch.allclose(theirs[name], ours[name], atol=1e-5) for name in ours)


def test_two_that_share_a_scorer_are_killed_and_one_goes_on_to_the_same_model(
    sharded: Config, tmp_path: Path
) -> None:
    write_config(sharded, tmp_path / "c.toml")
    out = tmp_path / "run"
    command = ["train", str(tmp_path / "c.toml"), "--out_dir", str(out), "--json"]
    fault = {"point": "checkpoint.flushed", "nth": 3, "fault": "SIGKILL"}
    done = run_with_fault(command, tmp_path / "fired", **fault, launcher=TWO)
    assert done.returncode and not (out / "metrics.json").exists()
    assert newest_checkpoint(out)[1]["global_step"] > 0
    train(sharded, out)
    assert learnt_alike(sharded, out, tmp_path / "alone")


def test_one_is_stopped_and_two_that_share_the_model_end_what_it_began(
    sharded: Config, tmp_path: Path
) -> None:
    write_config(sharded, tmp_path / "c.toml")
    out = tmp_path / "run"
    with stopped_at(5) as watch, pytest.raises(KeyboardInterrupt):
        train(sharded, out, on_progress=watch)
    run_by_two(["train", str(tmp_path / "c.toml"), "--out_dir", str(out), "--json"])
    assert learnt_alike(sharded, out, tmp_path / "alone")
    assert Scorer.from_pretrained(out).model.config.ratio_map != list(IDENTITY_MAP)  # settled
    (score,) = Scorer.from_pretrained(out).score(["It was a dark and stormy night."])
    assert 0 <= score.synthenticity <= 1


def test_two_that_share_a_model_wait_for_space_together(sharded: Config, tmp_path: Path) -> None:
    """The first one's disk is full when weights are written, before the optimizer's turn."""
    config = dataclasses.replace(sharded, max_iters=4)
    write_config(config, tmp_path / "c.toml")
    out = tmp_path / "run"
    command = ["train", str(tmp_path / "c.toml"), "--out_dir", str(out)]
    fault = {"point": "model.weights_saved", "fault": "ENOSPC"}
    done = run_with_fault(command, tmp_path / "fired", **fault, launcher=TWO)
    assert done.returncode == 0, done.stderr
    assert f"The disk of {out} is full; the checkpoint of iteration 4 waits" in done.stderr
    assert learnt_alike(config, out, tmp_path / "alone")


@pytest.mark.slow
def test_two_that_share_a_language_model_learn_what_one_learns(
    mlm_config: Config, tmp_path: Path
) -> None:
    """Head and embeddings are one matrix, which is trained once, and saved once."""
    config = dataclasses.replace(
        mlm_config, dropout=0.0, max_iters=6, eval_interval=3, save_interval=3
    )
    write_config(config, tmp_path / "c.toml")
    command = ["train", str(tmp_path / "c.toml"), "--out_dir", str(tmp_path / "run")]
    run_by_two([*command, "--shard_model", "true"])
    assert learnt_alike(config, tmp_path / "run", tmp_path / "alone")


@pytest.mark.parametrize("name", ["roberta", "modernbert", "electra"])
def test_what_is_shared_out_by_itself_is_the_layers_of_an_encoder(
    name: str, family: Callable[[str], Path]
) -> None:
    model = AutoModelForMaskedLM.from_pretrained(family(name))
    found = layers(model)
    assert len(found) == model.config.num_hidden_layers
    assert len({id(layer) for layer in found}) == len(found)
    in_layers = {id(each) for layer in found for each in layer.parameters()}
    assert id(model.get_input_embeddings().weight) not in in_layers


def test_a_whole_optimizer_is_read_into_the_memory_of_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not into the device, here "meta", which may hold no more than a part."""
    seen: list[torch.device] = []
    monkeypatch.setattr(
        Trainer, "_load_optimizer_and_scheduler", lambda self, _: seen.append(self.args.device)
    )
    trainer = object.__new__(StreamTrainer)
    trainer.sharded, trainer.optimizer = True, torch.optim.AdamW([torch.zeros(2)])
    trainer.args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    trainer.args._setup_devices = torch.device("meta")
    trainer._load_optimizer_and_scheduler(str(tmp_path))
    assert seen == [torch.device("cpu")] and trainer.args.device == torch.device("meta")


def test_a_frozen_encoder_is_not_shared_out(sharded: Config, tmp_path: Path) -> None:
    config = dataclasses.replace(sharded, freeze_transformer=True)
    with pytest.raises(ConfigError, match="Set one of shard_model and freeze_transformer"):
        train(config, tmp_path / "run")


def test_accelerates_own_way_to_shard_is_refused_by_the_name_of_ours(
    scorer_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ConfigError, match="Leave that out and set shard_model = true"):
        train(scorer_config, tmp_path / "run")
