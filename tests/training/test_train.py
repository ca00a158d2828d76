"""Training: what moves and what does not, and that an interrupted run is the same run."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from runs import Weights, providing, same, seen_in_one_go, stopped_at, weights
from transformers.trainer_pt_utils import safe_globals

from synthenticity.config import Config
from synthenticity.config_file import write_config
from synthenticity.durable import take_lock
from synthenticity.errors import (
    CompatibilityError,
    ConfigError,
    ModelError,
    ProviderTimeoutError,
)
from synthenticity.providers.prepare import prepare
from synthenticity.stream.batch_queue import BatchQueue
from synthenticity.stream.dataset_consumer import DatasetConsumer
from synthenticity.text.tokenization import load_tokenizer
from synthenticity.training.checkpoint_files import (
    MARKER_KEYS,
    newest_checkpoint,
    remove_old_checkpoints,
)
from synthenticity.training.loss import LossModifiers, ScorerLoss
from synthenticity.training.model import build_language_model, build_scorer, load_scorer
from synthenticity.training.objective import LanguageModelObjective, ScorerObjective
from synthenticity.training.sequence_scorer import IDENTITY_MAP
from synthenticity.training.train import train


def starting_weights(config: Config) -> Weights:
    """Return the weights before the first step, as a run of this config draws them."""
    from transformers.trainer_utils import set_seed

    set_seed(config.seed)
    return build_scorer(config, load_tokenizer(Path(config.data_dir) / "tokenizer")).state_dict()


# Freezing.


@pytest.fixture(scope="module")
def frozen(scorer_config: Config) -> Config:
    return dataclasses.replace(
        scorer_config, freeze_transformer=True, unfreeze_at_iteration=4, save_interval=4
    )


def test_the_encoder_is_bit_identical_while_frozen_and_moves_after(
    frozen: Config, tmp_path: Path
) -> None:
    before = starting_weights(frozen)
    train(frozen, tmp_path / "run")
    while_frozen = weights(tmp_path / "run" / "checkpoint-4")
    after = weights(tmp_path / "run")
    assert all(same(before, while_frozen, "encoder.")) and len(same(before, after, "encoder.")) > 10
    assert not any(same(before, while_frozen, "cls_head."))
    assert not any(same(before, while_frozen, "token_head."))
    assert not any(same(while_frozen, after, "encoder."))


def test_the_encoder_moves_in_the_very_step_after_its_thaw(frozen: Config, tmp_path: Path) -> None:
    train(dataclasses.replace(frozen, max_iters=5, lr_decay="constant"), tmp_path / "run")
    assert not any(same(starting_weights(frozen), weights(tmp_path / "run"), "encoder."))


def test_without_a_thaw_the_encoder_never_moves(frozen: Config, tmp_path: Path) -> None:
    train(dataclasses.replace(frozen, unfreeze_at_iteration=0), tmp_path / "run")
    assert all(same(starting_weights(frozen), weights(tmp_path / "run"), "encoder."))


def test_a_thawed_encoder_moves_by_its_own_learning_rate(frozen: Config, tmp_path: Path) -> None:
    before = starting_weights(frozen)
    moved = {}
    for multiplier in (1.0, 0.1, 0.0):
        folder = tmp_path / str(multiplier)
        config = dataclasses.replace(
            frozen, unfreeze_lr_multiplier=multiplier, weight_decay=0.0, unfreeze_at_iteration=1
        )
        train(config, folder)
        steps = [
            (value - before[name]).abs().mean()
            for name, value in weights(folder).items()
            if name.startswith("encoder.") and not is_new(name)
        ]
        moved[multiplier] = float(torch.stack(steps).mean())
    assert moved[0.0] == 0.0
    assert moved[0.1] == pytest.approx(0.1 * moved[1.0], rel=0.3)


def is_new(name: str) -> bool:
    """Whether a parameter is none of the pretrained encoder's."""
    return not name.startswith("encoder.") or "channels" in name or "projection" in name


def test_what_is_new_learns_by_a_rate_of_its_own(scorer_config: Config, tmp_path: Path) -> None:
    config = dataclasses.replace(
        scorer_config, max_iters=1, eval_interval=1, warmup_iters=0, weight_decay=0.0
    )
    before = starting_weights(config)
    moved = {}
    for multiplier in (1.0, 0.0):
        folder = tmp_path / str(multiplier)
        train(dataclasses.replace(config, head_lr_multiplier=multiplier), folder)
        moved[multiplier] = {
            name for name, value in weights(folder).items() if not torch.equal(value, before[name])
        }
    assert any(is_new(name) for name in moved[1.0])
    assert moved[0.0] and not any(is_new(name) for name in moved[0.0])


def test_a_frozen_encoder_has_no_gradient_and_no_dropout(frozen: Config) -> None:
    config = dataclasses.replace(frozen, init_from_checkpoint=None, dropout=0.5)
    scorer = build_scorer(config, load_tokenizer(Path(config.data_dir) / "tokenizer"))
    ids = torch.randint(4, 20, (2, 16))
    scorer.train()
    scorer.freeze_encoder(True)
    scorer.train()  # as the Trainer does before every step
    assert torch.equal(scorer(ids).logit, scorer(ids).logit)
    scorer(ids).logit.sum().backward()
    assert all(parameter.grad is None for parameter in scorer.encoder.parameters())
    assert scorer.cls_head.weight.grad is not None
    scorer.freeze_encoder(False)
    assert not torch.equal(scorer(ids).token_logits, scorer(ids).token_logits)
    scorer(ids).token_logits.sum().backward()
    assert all(parameter.grad is not None for parameter in scorer.encoder.parameters())


def test_a_language_model_can_be_frozen_too(
    mlm_config: Config, mlm_path: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(
        mlm_config,
        init_from_checkpoint=str(mlm_path),
        freeze_transformer=True,
        unfreeze_at_iteration=3,
        save_interval=3,
        max_iters=6,
        learning_rate=1e-2,
    )
    train(config, tmp_path / "run")
    before, after = weights(mlm_path), weights(tmp_path / "run")
    half = weights(tmp_path / "run" / "checkpoint-3")
    assert all(same(before, half, "model.")) and not any(same(before, half, "head."))
    assert not all(same(half, after, "model."))


# What is learnt and watched.


def test_a_language_model_learns_more_than_frequencies(mlm_config: Config, mlm_path: Path) -> None:
    figures = json.loads((mlm_path / "metrics.json").read_text(encoding="utf-8"))["eval"]
    val = DatasetConsumer(mlm_config.data_dir, batch_size=1, split="val").read_all()
    truth = val["labels"][val["labels"] >= 0]
    shares = np.bincount(truth) / len(truth)
    unigram = -float((shares[shares > 0] * np.log(shares[shares > 0])).sum())
    assert figures["loss"] < unigram
    assert figures["perplexity"] == pytest.approx(np.exp(figures["loss"]))
    assert figures["accuracy"] > shares.max()


def test_evaluation_watches_ratio_and_tokens_on_the_fixed_val_set(scorer_path: Path) -> None:
    content = json.loads((scorer_path / "metrics.json").read_text(encoding="utf-8"))
    assert [entry["step"] for entry in content["history"]] == [3, 6]
    wanted = {"loss", "mse", "mae", "pearson", "r2", "token_auroc_filled", "token_auroc_replaced"}
    assert wanted <= set(content["eval"])
    assert content["made_with"]["dataset"] == "sequence_scorer"


def test_what_is_watched_is_the_val_set_and_nothing_else(
    scorer_config: Config, scorer_path: Path
) -> None:
    val = DatasetConsumer(
        scorer_config.data_dir,
        batch_size=1,
        split="val",
        max_files=scorer_config.val_files,
        columns=ScorerObjective.columns,
    ).read_all()
    objective = ScorerObjective(
        ScorerLoss(scorer_config.ratio_loss, scorer_config.ratio_weight), target="synthenticity"
    )
    scorer = load_scorer(scorer_path)
    scorer.config.ratio_map = list(IDENTITY_MAP)  # fitted to that very set when all was done
    figures = objective.evaluate(scorer, val, 8)
    said = json.loads((scorer_path / "metrics.json").read_text(encoding="utf-8"))["eval"]
    for name in ("mae", "loss", "token_auroc_filled"):
        assert said[name] == pytest.approx(figures[name], rel=1e-4)


def test_intervals_hold_what_they_promise_of_the_val_set(
    scorer_path: Path, scorer_config: Config
) -> None:
    val = DatasetConsumer(
        scorer_config.data_dir, batch_size=1, split="val", columns=ScorerObjective.columns
    ).read_all()
    with torch.no_grad():
        said = load_scorer(scorer_path)(torch.from_numpy(val["input_ids"].astype(np.int64)))
    true = val["targets"]
    inside = (said.low.numpy() - 1e-6 <= true) & (true <= said.high.numpy() + 1e-6)
    assert 0 <= inside.sum() - np.ceil(0.9 * (len(true) + 1)) <= 2  # a tie or two


def test_the_last_weights_are_evaluated_wherever_the_interval_ends(
    scorer_config: Config, tmp_path: Path
) -> None:
    train(dataclasses.replace(scorer_config, eval_interval=4), tmp_path / "run")
    content = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert [entry["step"] for entry in content["history"]] == [4, 6]


def test_a_scorer_of_authenticity_learns_the_same_as_one_of_synthenticity(
    scorer_config: Config, tmp_path: Path
) -> None:
    for target in ("synthenticity", "authenticity"):
        config = dataclasses.replace(
            scorer_config, target=target, data_dir=str(tmp_path / f"{target} data")
        )
        prepare(config, files=2)
        train(config, tmp_path / target)
    left, right = (weights(tmp_path / target) for target in ("synthenticity", "authenticity"))
    assert all(torch.allclose(left[name], right[name], atol=1e-6) for name in left)


def test_loss_modifiers_are_left_out_for_a_scorer_with_a_line_that_says_so(
    scorer_config: Config, tmp_path: Path
) -> None:
    said: list[str] = []
    config = dataclasses.replace(
        scorer_config, loss_modifiers_enabled=True, entropy_modifier_enabled=True
    )
    train(config, tmp_path / "run", on_message=said.append)
    (line,) = said
    assert "Left out: entropy_modifier, target_smoothing, mask_ratio_modifier" in line


def test_loss_modifiers_change_what_a_language_model_learns(
    mlm_config: Config, tmp_path: Path
) -> None:
    config = dataclasses.replace(mlm_config, max_iters=3, eval_interval=3)
    train(config, tmp_path / "plain")
    for name in ("entropy_modifier", "target_smoothing", "mask_ratio_modifier"):
        switched = {"loss_modifiers_enabled": True, f"{name}_enabled": True}
        train(dataclasses.replace(config, **switched), tmp_path / name)
        assert not all(same(weights(tmp_path / "plain"), weights(tmp_path / name)))


def test_a_batch_with_nothing_masked_moves_nothing(mlm_config: Config) -> None:
    tokenizer = load_tokenizer(Path(mlm_config.data_dir) / "tokenizer")
    model = build_language_model(mlm_config, tokenizer)
    ids = torch.randint(4, 20, (2, 16))
    objective = LanguageModelObjective(LossModifiers())
    loss = objective.loss(model, {"input_ids": ids, "labels": torch.full_like(ids, -100)})
    loss.backward()
    assert loss.item() == 0.0
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_training_is_reported_to_tensorboard(scorer_config: Config, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(dataclasses.replace(scorer_config, report_to="tensorboard"), tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("eval/mae")] == [3, 6]


@pytest.mark.parametrize("name", ["wandb", "paper", "tensorboard, paper"])
def test_reports_to_what_is_not_there_are_refused(
    name: str, scorer_config: Config, tmp_path: Path
) -> None:
    config = dataclasses.replace(scorer_config, report_to=name)
    with pytest.raises(ConfigError, match=r"report_to: \w+ is unknown or not installed"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("device", ["cuda:99", "tpu", "cpu:x"])
def test_devices_that_are_not_there_are_refused(
    device: str, scorer_config: Config, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=f"device: {device} is not there.*cpu"):
        train(dataclasses.replace(scorer_config, device=device), tmp_path / "run")
    with pytest.raises(ConfigError, match=f"device: {device} is not there.*cpu"):
        prepare(dataclasses.replace(scorer_config, device=device), tmp_path / "d", files=1)


def test_sequences_of_another_length_than_the_settings_are_refused(
    scorer_config: Config, tmp_path: Path
) -> None:
    config = dataclasses.replace(scorer_config, block_size=40)
    with pytest.raises(CompatibilityError, match=r"block_size: 40, and .* are 33 tokens long"):
        train(config, tmp_path / "run")


def test_data_longer_than_the_starting_model_reads_are_refused(
    scorer_config: Config, mlm_path: Path, tmp_path: Path
) -> None:
    short = shutil.copytree(mlm_path, tmp_path / "short", ignore=shutil.ignore_patterns("check*"))
    path = short / "config.json"
    content = json.loads(path.read_text(encoding="utf-8")) | {"max_position_embeddings": 20}
    path.write_text(json.dumps(content), encoding="utf-8")
    config = dataclasses.replace(scorer_config, init_from_checkpoint=str(short))
    with pytest.raises(CompatibilityError, match=r"33 tokens long, the model of .* reads 20"):
        train(config, tmp_path / "run")


# Interrupted and continued.


def test_a_stopped_run_goes_on_to_bit_identical_weights(
    long_run: Config, uninterrupted: Weights, tmp_path: Path
) -> None:
    with stopped_at(5) as watch, pytest.raises(KeyboardInterrupt):
        train(long_run, tmp_path / "run", on_progress=watch)
    folder, marker = newest_checkpoint(tmp_path / "run")
    assert marker["global_step"] == 6 and folder.name == "checkpoint-6"  # after the step begun
    assert not (tmp_path / "run" / "model.safetensors").exists()
    steps: list[int] = []
    train(long_run, tmp_path / "run", on_progress=lambda progress: steps.append(progress.step))
    assert min(steps) > 6 and max(steps) == 12
    assert all(same(weights(tmp_path / "run"), uninterrupted))


def test_a_killed_run_goes_on_from_its_last_checkpoint_to_bit_identical_weights(
    long_run: Config, uninterrupted: Weights, tmp_path: Path
) -> None:
    config = tmp_path / "c.toml"
    write_config(long_run, config)
    out = tmp_path / "run"
    command = [sys.executable, "-m", "synthenticity", "train", str(config), "--out_dir", str(out)]
    with subprocess.Popen(command, stdout=-1, stderr=-1) as process:
        while not (out / "checkpoint-4" / "stream.json").exists():
            assert process.poll() is None
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (out / "metrics.json").exists()
    train(long_run, out)
    assert all(same(weights(out), uninterrupted))


def test_a_checkpoint_without_its_marker_is_not_one(
    long_run: Config, uninterrupted: Weights, tmp_path: Path
) -> None:
    with stopped_at(10) as watch, pytest.raises(KeyboardInterrupt):
        train(long_run, tmp_path / "run", on_progress=watch)
    (tmp_path / "run" / "checkpoint-11" / "stream.json").unlink()
    (tmp_path / "run" / "checkpoint-11" / "model.safetensors").write_bytes(b"half")
    assert newest_checkpoint(tmp_path / "run")[1]["global_step"] == 8
    train(long_run, tmp_path / "run")
    assert all(same(weights(tmp_path / "run"), uninterrupted))


def test_a_run_killed_between_its_last_checkpoint_and_the_model_is_finished(
    long_run: Config, uninterrupted: Weights, tmp_path: Path
) -> None:
    train(long_run, tmp_path / "run")
    before = (tmp_path / "run" / "metrics.json").read_text(encoding="utf-8")
    (tmp_path / "run" / "metrics.json").unlink()
    (tmp_path / "run" / "model.safetensors").unlink()
    result = train(long_run, tmp_path / "run")
    assert result.steps == 12 and not result.already_complete
    assert all(same(weights(tmp_path / "run"), uninterrupted))
    assert (tmp_path / "run" / "metrics.json").read_text(encoding="utf-8") == before


def test_a_complete_run_is_left_alone_and_can_be_trained_longer(
    scorer_config: Config, tmp_path: Path
) -> None:
    first = train(scorer_config, tmp_path / "run")
    again = train(scorer_config, tmp_path / "run")
    assert again.already_complete and again.metrics == first.metrics
    longer = train(dataclasses.replace(scorer_config, max_iters=9), tmp_path / "run")
    assert longer.steps == 9 and not longer.already_complete


def test_a_run_is_not_continued_with_other_settings_or_data(
    scorer_config: Config, tmp_path: Path
) -> None:
    train(scorer_config, tmp_path / "run")
    other = dataclasses.replace(scorer_config, learning_rate=1e-5, head="cls")
    with pytest.raises(CompatibilityError, match=r"head is 'token' there and 'cls'.*learning_rate"):
        train(other, tmp_path / "run")
    data = dataclasses.replace(scorer_config, seed=2, data_dir=str(tmp_path / "data"))
    prepare(data, files=1)
    moved = dataclasses.replace(scorer_config, data_dir=str(tmp_path / "data"), max_iters=20)
    with pytest.raises(CompatibilityError, match="was trained on other data"):
        train(moved, tmp_path / "run")


def test_nothing_in_a_run_but_its_resume_state_is_pickled(scorer_path: Path) -> None:
    names = {path.name for path in scorer_path.rglob("*") if path.is_file()}
    assert {name for name in names if name.endswith((".bin", ".pkl", ".pickle"))} == set()
    torchs = {name for name in names if name.endswith((".pt", ".pth"))}
    assert torchs == {"optimizer.pt", "scheduler.pt", "rng_state.pth"}
    for path in scorer_path.rglob("*.pt*"):
        with safe_globals():  # what transformers allows the restricted loader
            torch.load(path, weights_only=True)


# The live queue.


def test_a_live_queue_gives_each_sequence_to_the_weights_once_also_when_stopped(
    scorer_config: Config, tmp_path: Path
) -> None:
    """The reference reads the same stream from a finite set, in file order, in one go."""
    live = dataclasses.replace(
        scorer_config, data_dir=str(tmp_path / "live"), max_backlog_files=2, max_iters=20
    )
    with providing(live) as queue:
        with stopped_at(10) as watch, pytest.raises(KeyboardInterrupt):
            train(live, tmp_path / "run", on_progress=watch)
        step = newest_checkpoint(tmp_path / "run")[1]["global_step"]
        assert queue.first_unacknowledged() == step * 4 // 12
        train(live, tmp_path / "run")
        assert queue.first_unacknowledged() == 20 * 4 // 12
    assert all(same(weights(tmp_path / "run"), seen_in_one_go(live, tmp_path)))


def test_nothing_is_let_go_of_before_a_complete_checkpoint_holds_it(
    scorer_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = dataclasses.replace(
        scorer_config, data_dir=str(tmp_path / "live"), max_backlog_files=2, max_iters=12
    )
    let_go: list[int] = []
    acknowledge = BatchQueue.acknowledge

    def watch(queue: BatchQueue, first: int, by: str = "") -> None:
        found = newest_checkpoint(tmp_path / "run")
        assert found is not None and first <= found[1]["position"] // 12
        let_go.append(first)
        acknowledge(queue, first, by)

    monkeypatch.setattr(BatchQueue, "acknowledge", watch)
    with providing(live):
        train(live, tmp_path / "run")
    assert let_go[-1] == 4 and len(let_go) > 1


def test_a_provider_that_is_merely_slower_costs_no_checkpoints(
    scorer_config: Config, tmp_path: Path
) -> None:
    """Checkpoints after iterations 10 and 20 only: eight files ahead are never there."""
    live = dataclasses.replace(
        scorer_config,
        data_dir=str(tmp_path / "live"),
        max_iters=20,
        save_interval=10,
        max_backlog_files=8,
    )
    steps: list[int] = []

    def slow(progress: Any) -> None:
        if progress.split == "train":
            steps.extend(int(p.name.split("-")[1]) for p in (tmp_path / "run").glob("checkpoint-*"))
            time.sleep(0.3)

    with providing(live, on_progress=slow):
        train(live, tmp_path / "run")
    assert set(steps) <= {10, 20} and 10 in steps


def test_a_slow_provider_is_let_go_on_before_a_step_of_several_files(
    scorer_config: Config, tmp_path: Path
) -> None:
    """Two files a step, three in the backlog, which is never full when a step begins."""
    live = dataclasses.replace(
        scorer_config,
        data_dir=str(tmp_path / "live"),
        gradient_accumulation_steps=6,
        max_iters=4,
        wait_seconds=5,
    )

    def slow(progress: Any) -> None:
        if progress.split == "train" and not progress.waiting:
            time.sleep(0.5)

    with providing(live, on_progress=slow) as queue:
        assert train(live, tmp_path / "run").steps == 4
        assert queue.first_unacknowledged() == 4 * 2


def test_training_waits_for_the_whole_val_set_of_a_starting_provider(
    scorer_config: Config, tmp_path: Path
) -> None:
    config = dataclasses.replace(scorer_config, data_dir=str(tmp_path / "live"), val_files=2)
    stop, made = threading.Event(), threading.Event()

    def slow(progress: Any) -> None:
        made.set()
        if progress.split == "val" and progress.files_made == 1:
            time.sleep(1.0)

    thread = threading.Thread(
        target=prepare, args=(config,), kwargs={"stop": stop, "on_progress": slow}
    )
    thread.start()
    try:
        assert made.wait(20)
        val = DatasetConsumer(config.data_dir, batch_size=1, split="val", max_files=2)
        assert val.rows_per_epoch == 24
    finally:
        stop.set()
        thread.join()


def test_training_without_a_provider_ends_with_how_to_start_one(
    scorer_config: Config, tmp_path: Path
) -> None:
    config = dataclasses.replace(scorer_config, data_dir=str(tmp_path / "d"), wait_seconds=0.2)
    with pytest.raises(ProviderTimeoutError, match="synthenticity prepare CONFIG"):
        train(config, tmp_path / "run")


def test_a_step_that_needs_more_than_the_backlog_is_refused(
    scorer_config: Config, tmp_path: Path
) -> None:
    config = dataclasses.replace(
        scorer_config, data_dir=str(tmp_path / "d"), gradient_accumulation_steps=7
    )
    with providing(config), pytest.raises(ConfigError, match="an iteration takes 28 sequences"):
        train(config, tmp_path / "run")


def test_several_processes_without_a_launcher_are_refused(
    scorer_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"LOCAL_RANK is not set\. Start.*torchrun"):
        train(scorer_config, tmp_path / "run")


def test_the_objective_of_the_scorer_watches_the_synthenticity_itself(
    scorer_config: Config,
) -> None:
    tokenizer = load_tokenizer(Path(scorer_config.data_dir) / "tokenizer")
    data = DatasetConsumer(
        scorer_config.data_dir, batch_size=1, split="val", columns=ScorerObjective.columns
    ).read_all()
    model = build_scorer(scorer_config, tokenizer).eval()
    figures = ScorerObjective(ScorerLoss(), target="synthenticity").evaluate(model, data, 5)
    with torch.no_grad():
        said = model(torch.from_numpy(data["input_ids"].astype(np.int64))).synthenticity.numpy()
    assert figures["mae"] == pytest.approx(np.abs(said - data["targets"]).mean(), rel=1e-5)


def test_accumulated_losses_are_averaged_also_for_language_models(
    mlm_config: Config, tmp_path: Path
) -> None:
    losses = {}
    for steps in (1, 4):
        config = dataclasses.replace(
            mlm_config, gradient_accumulation_steps=steps, max_iters=1, eval_interval=1
        )
        seen: list[float] = []
        train(
            config,
            tmp_path / str(steps),
            on_progress=lambda p, seen=seen: seen.append(p.figures.get("loss", 0.0)),
        )
        losses[steps] = max(seen)
    assert losses[4] == pytest.approx(losses[1], rel=0.15)


def test_half_saved_checkpoints_push_out_no_complete_one(tmp_path: Path) -> None:
    for step, complete in ((4, True), (8, True), (9, False), (11, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text("{}", encoding="utf-8")
        if complete:
            content = json.dumps({**dict.fromkeys(MARKER_KEYS), "global_step": step})
            (folder / "stream.json").write_text(content, encoding="utf-8")
    remove_old_checkpoints(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-4", "checkpoint-8"]


def test_a_damaged_marker_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-4").mkdir()
    (tmp_path / "checkpoint-4" / "trainer_state.json").write_text("{}", encoding="utf-8")
    (tmp_path / "checkpoint-4" / "stream.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match=r"checkpoint-4: is damaged .* Remove it"):
        newest_checkpoint(tmp_path)
    remove_old_checkpoints(tmp_path)  # a run that is going on is not ended by it
    assert (tmp_path / "checkpoint-4").is_dir()


def test_a_run_goes_on_with_the_files_it_began_with_when_a_set_has_grown(
    scorer_config: Config, tmp_path: Path
) -> None:
    config = dataclasses.replace(
        scorer_config, data_dir=str(tmp_path / "data"), max_iters=9, save_interval=4
    )
    prepare(config, files=2)
    with stopped_at(5) as watch, pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", on_progress=watch)
    reference = dataclasses.replace(config, data_dir=str(tmp_path / "two"))
    prepare(reference, files=2)
    train(reference, tmp_path / "reference")
    prepare(config, files=4)
    train(config, tmp_path / "run")
    assert all(same(weights(tmp_path / "run"), weights(tmp_path / "reference")))


def test_a_scorer_can_stand_on_an_encoder_of_another_architecture(
    scorer_config: Config, tmp_path: Path
) -> None:
    from transformers import AutoConfig, AutoModelForMaskedLM

    tokenizer = load_tokenizer(Path(scorer_config.data_dir) / "tokenizer")
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    bert = AutoConfig.for_model("bert", vocab_size=len(tokenizer), intermediate_size=48, **size)
    AutoModelForMaskedLM.from_config(bert).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(str(tmp_path / "bert"))
    config = dataclasses.replace(scorer_config, init_from_checkpoint=str(tmp_path / "bert"))
    assert train(config, tmp_path / "run").steps == config.max_iters
    assert load_scorer(tmp_path / "run").encoder.config.model_type == "bert"


@pytest.mark.parametrize("eval_interval", [2, 30])
def test_a_run_that_diverges_is_ended_and_leaves_no_broken_model(
    eval_interval: int, scorer_config: Config, tmp_path: Path
) -> None:
    config = dataclasses.replace(
        scorer_config, max_iters=30, eval_interval=eval_interval, learning_rate=1e30
    )
    with pytest.raises(ModelError, match="is not finite at iteration"):
        train(config, tmp_path / "run")
    assert not list((tmp_path / "run").glob("**/model.safetensors"))


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def with_a_flipped_bit(content: bytes) -> bytes:
    """Flip the lowest bit of the last digit, or else of the byte in the middle."""
    digits = [place for place, byte in enumerate(content) if chr(byte).isdigit()]
    place = digits[-1] if content[:1] == b"{" else len(content) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("name", ["model.safetensors", "trainer_state.json", "stream.json"])
@pytest.mark.parametrize("damage", [cut, with_a_flipped_bit])
def test_a_damaged_checkpoint_is_named_and_the_one_before_serves(
    damage: Callable[[bytes], bytes],
    name: str,
    long_run: Config,
    uninterrupted: Weights,
    tmp_path: Path,
) -> None:
    with stopped_at(10) as watch, pytest.raises(KeyboardInterrupt):
        train(long_run, tmp_path / "run", on_progress=watch)
    newest = tmp_path / "run" / "checkpoint-11"
    path = newest / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match=r"checkpoint-11: is damaged .* Remove it"):
        train(long_run, tmp_path / "run")
    shutil.rmtree(newest)
    train(long_run, tmp_path / "run")
    assert all(same(weights(tmp_path / "run"), uninterrupted))


def test_a_second_run_in_one_folder_is_refused(scorer_config: Config, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with (tmp_path / "run" / ".lock").open("a") as file:
        assert take_lock(file)
        with pytest.raises(ConfigError, match="another train is at work"):
            train(scorer_config, tmp_path / "run")
    assert train(scorer_config, tmp_path / "run").steps == scorer_config.max_iters


def test_a_step_is_measured_by_the_backlog_of_the_provider_that_is_there(
    scorer_config: Config, tmp_path: Path
) -> None:
    provider = dataclasses.replace(
        scorer_config, data_dir=str(tmp_path / "live"), max_backlog_files=2
    )
    larger = dataclasses.replace(provider, max_backlog_files=10, gradient_accumulation_steps=6)
    with providing(provider), pytest.raises(ConfigError, match="the backlog holds 2 files of 12"):
        train(larger, tmp_path / "run")
