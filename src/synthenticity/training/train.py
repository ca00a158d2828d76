"""`train`: from a config and a stream of batches to a checkpoint.

Everything that can be refused is refused before a model is built: the mode against the data, the
tokenizer and length against the checkpoint, the settings against those of the run that is
continued. Run again after any interruption, the same call goes on from the last checkpoint.
"""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PrinterCallback, TrainingArguments
from transformers.integrations import TensorBoardCallback
from transformers.trainer_utils import set_seed

from synthenticity.config import Config
from synthenticity.config_file import write_config
from synthenticity.durable import make_folder, take_lock, write_whole
from synthenticity.errors import CompatibilityError, ConfigError
from synthenticity.faults import point
from synthenticity.runtimes.memory import keep_freed_memory
from synthenticity.stream.dataset_consumer import DatasetConsumer
from synthenticity.stream.meta import Meta
from synthenticity.stream.places import beside
from synthenticity.text.tokenization import load_tokenizer, tokenizer_fingerprint
from synthenticity.training.arguments import trainer_arguments
from synthenticity.training.callbacks import (
    Curves,
    Flow,
    Reporting,
    TrainProgress,
)
from synthenticity.training.checkpoint_files import SpaceWaiter, flush_folder
from synthenticity.training.checks import (
    check_agreement,
    check_continuation,
    check_mode,
    check_settings,
    check_sizes,
)
from synthenticity.training.freezing import Freezing
from synthenticity.training.loss import MODIFIERS, LossModifiers, ScorerLoss
from synthenticity.training.model import ModelMode, build_language_model, build_scorer
from synthenticity.training.objective import LanguageModelObjective, Objective, ScorerObjective
from synthenticity.training.profiling import profiled
from synthenticity.training.ranks import Ranks
from synthenticity.training.stopping import SharedFlag, signals_set
from synthenticity.training.stream_loader import worker_deaths_named
from synthenticity.training.stream_trainer import StreamTrainer

logger = logging.getLogger(__name__)

OBJECTIVES: dict[ModelMode, type[LanguageModelObjective] | type[ScorerObjective]] = {
    ModelMode.LANGUAGE_MODEL: LanguageModelObjective,
    ModelMode.SEQUENCE_SCORER: ScorerObjective,
}


@dataclass(frozen=True)
class TrainResult:
    """Where the model is, what its last evaluation said, and whether steps were made."""

    out_dir: Path
    steps: int
    metrics: dict[str, float]
    already_complete: bool = False


def train(
    config: Config,
    out_dir: str | Path,
    *,
    on_progress: Callable[[TrainProgress], None] = lambda progress: None,
    on_message: Callable[[str], None] = logger.info,
    while_waiting: Callable[[], bool] = lambda: False,
    profile_steps: int | None = None,
) -> TrainResult:
    """Train what `config.model_mode` says on the data in `config.data_dir`.

    With `profile_steps`, write a trace of so many steps and a table of where the time went into
    `profile/` in `out_dir`, and tell the table to `on_message`.

    Raises:
        CompatibilityError: data, checkpoint and config do not belong together.
        ProviderTimeoutError: the data did not come; says how to start a provider.
        KeyboardInterrupt: stopped by a signal, after a last checkpoint; the same call continues.

    """
    folder = Path(out_dir)
    ranks = Ranks()
    if not ranks.first:  # one of them speaks
        on_progress, on_message = (lambda progress: None), logger.debug
    check_settings(config, folder)
    arguments = trainer_arguments(config, folder, ranks)
    resumed = check_continuation(config, folder)
    if arguments.device.type == "cpu":
        keep_freed_memory()
    stop = SharedFlag()
    disk = SpaceWaiter(
        folder, pause=config.sleep_seconds, stop=stop, ranks=ranks, on_message=on_message
    )
    with signals_set(stop), worker_deaths_named():
        consumer = _consumer(config, folder, disk, resumed, while_waiting)
        check_mode(config, consumer.meta)
        consumer.choose_columns(OBJECTIVES[ModelMode(config.model_mode)].columns)
        check_sizes(config, consumer.meta, consumer.queue.bound(config.max_backlog_files))
        if config.shard_model and ranks.world_size == 1:
            on_message("shard_model: has no effect in one process; torchrun starts several.")
        check_agreement(ranks, folder, resumed, consumer)  # from here on the first one writes
        _check_same_data(consumer, resumed)
        step, done = resumed[1]["global_step"] if resumed else 0, _read_metrics(folder)
        if step >= config.max_iters and profile_steps is not None:
            on_message(
                f"profile: nothing measured, all {step} iterations are made. Raise max_iters, or "
                "train in another --out_dir."
            )
        if step >= config.max_iters and done.get("steps") == step:
            return TrainResult(folder, step, done["eval"], already_complete=True)
        if done and step:
            on_message(
                f"Training goes on from iteration {step} to {config.max_iters}; the learning rate "
                "follows the new, longer schedule."
            )
        _write_settings(config, folder, disk)
        with _owned(folder, ranks):
            checkpoint = _take_position(consumer, resumed, disk)
            trainer = _build_trainer(
                config, arguments, consumer, disk, start_step=step, on_progress=on_progress
            )
            if checkpoint and step >= config.max_iters:  # killed before the model was saved
                trainer.restore(checkpoint)
            else:
                with profiled(trainer, folder, profile_steps, on_message):
                    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            if any(ranks.largest(stop.is_set())):
                raise KeyboardInterrupt
            return _finish(trainer, folder)


@contextmanager
def _owned(folder: Path, ranks: Ranks) -> Iterator[None]:
    """Within, this run alone writes into its folder; the lock ends with the process.

    Raises:
        ConfigError: another run is at work there.

    """
    if not ranks.first:
        yield
        return
    with (folder / ".lock").open("a") as file:
        if not take_lock(file):
            raise ConfigError(
                f"out_dir: another train is at work in {folder}. Let it end, or use another "
                "--out_dir."
            )
        yield


def _consumer(
    config: Config,
    folder: Path,
    disk: SpaceWaiter,
    resumed: tuple[Path, dict[str, Any]] | None,
    while_waiting: Callable[[], bool],
) -> DatasetConsumer:
    """Return the consumer of the train split; it waits for a provider that only starts."""
    return DatasetConsumer(
        config.data_dir,
        batch_size=config.batch_size,
        seed=config.seed,
        wait_seconds=config.wait_seconds,
        max_files=resumed[1].get("files") if resumed else None,
        stop=disk.stop,
        on_wait=disk.on_message,
        while_waiting=while_waiting,
        rank=disk.ranks.rank,
        world_size=disk.ranks.world_size,
        name=str(folder.resolve()),
    )


def _check_same_data(
    consumer: DatasetConsumer, resumed: tuple[Path, dict[str, Any]] | None
) -> None:
    if resumed and resumed[1]["data_fingerprint"] != consumer.meta.fingerprint:
        raise CompatibilityError(
            f"{resumed[0]}: was trained on other data than {consumer.queue.name} holds. "
            "Continue with the same data, or use another --out_dir."
        )


def _take_position(
    consumer: DatasetConsumer, resumed: tuple[Path, dict[str, Any]] | None, disk: SpaceWaiter
) -> Path | None:
    """Put the consumer where the checkpoint says, and return its folder."""
    if resumed is None:
        return None
    folder, marker = resumed
    consumer.position = int(marker["position"])

    def acknowledge() -> None:
        if not disk.ranks.first:
            return
        if consumer.take_back(consumer.position):
            disk.on_message(
                f"A checkpoint after {folder.name} was lost; the provider makes the files since "
                "then again."
            )
        consumer.acknowledge(consumer.position)  # in case the last run died before it could

    disk.write("the acknowledgement", acknowledge, folder=consumer.queue.directory)
    return folder


def _write_settings(config: Config, folder: Path, disk: SpaceWaiter) -> None:
    """Write what a continued run is compared with; no process goes on before it is there."""

    def attempt() -> None:
        if disk.ranks.first:
            make_folder(folder)
            write_config(config, folder / "config.toml")

    disk.write("config.toml", attempt)


def _build_trainer(
    config: Config,
    arguments: TrainingArguments,
    consumer: DatasetConsumer,
    disk: SpaceWaiter,
    *,
    start_step: int,
    on_progress: Callable[[TrainProgress], None],
) -> StreamTrainer:
    tokenizer = load_tokenizer(beside(config.data_dir) / "tokenizer")
    val = DatasetConsumer(
        config.data_dir,
        batch_size=config.batch_size,
        split="val",
        max_files=config.val_files,
        columns=consumer.columns,
        wait_seconds=config.wait_seconds,
        stop=disk.stop,
        on_wait=disk.on_message,
        while_waiting=consumer.while_waiting,
    )
    set_seed(config.seed)  # the new weights
    model, objective = build_model(config, consumer.meta, tokenizer, disk.on_message)
    trainer = StreamTrainer(
        config=config,
        consumer=consumer,
        objective=objective,
        val_data=val.read_all(),
        start_step=start_step,
        stop=disk.stop,
        disk=disk,
        model=model,
        args=arguments,
        processing_class=tokenizer,
    )
    if disk.ranks.rank:
        set_seed(config.seed + disk.ranks.rank)  # a dropout of its own
    trainer.remove_callback(PrinterCallback)
    if trainer.pop_callback(TensorBoardCallback) is not None:
        trainer.add_callback(Curves(disk.on_message))
    for callback in (Freezing(trainer, disk.on_message), Flow(trainer), Reporting(on_progress)):
        trainer.add_callback(callback)
    return trainer


def build_model(
    config: Config, meta: Meta, tokenizer: Any, on_message: Callable[[str], None]
) -> tuple[Any, Objective]:
    """Return the model that a config asks for and what it is trained on."""
    if config.model_mode == ModelMode.SEQUENCE_SCORER:
        if config.loss_modifiers_enabled:
            on_message(f"Left out: {', '.join(MODIFIERS)} (they are for language modelling).")
        target = str(meta.task.get("target", "synthenticity"))
        criterion = ScorerLoss(config.ratio_loss, config.ratio_weight)
        objective = ScorerObjective(criterion, target=target)
        return build_scorer(config, tokenizer), objective
    modifiers = LossModifiers.from_config(config)
    model = build_language_model(config, tokenizer, on_message)
    return model, LanguageModelObjective(modifiers)


def _finish(trainer: StreamTrainer, folder: Path) -> TrainResult:
    """Save the model where users look for it, and the history of its figures."""
    batch_size = trainer.args.per_device_eval_batch_size
    trainer.objective.settle(trainer.model, trainer.val_data, batch_size)

    def write_model() -> None:
        trainer.save_model(str(folder))
        if trainer.ranks.first:  # before metrics.json says that all is done
            flush_folder(folder)

    with trainer.whole():
        trainer.disk.write("the model", write_model)
    point("model.saved")
    history = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    last = {
        key.removeprefix("eval_"): value
        for key, value in (history[-1] if history else {}).items()
        if key.startswith("eval_")
    }
    meta = trainer.consumer.meta
    content = {
        "steps": trainer.state.global_step,
        "eval": last,
        "history": history,
        "data_fingerprint": meta.fingerprint,
        "tokenizer": tokenizer_fingerprint(trainer.processing_class),
        "made_with": dict(meta.made_with),
    }
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"

    def write_metrics() -> None:
        if trainer.ranks.first:
            write_whole(folder / "metrics.json", text)

    trainer.disk.write("metrics.json", write_metrics)
    point("metrics.saved")
    return TrainResult(folder, trainer.state.global_step, last)


def _read_metrics(folder: Path) -> dict[str, Any]:
    """Return what `_finish` wrote, last of all; nothing if it has not."""
    try:
        content: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content
