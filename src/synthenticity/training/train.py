"""`train`: from a config and a stream of batches to a checkpoint.

Everything that can be refused is refused before a model is built: the mode against the data, the
tokenizer and length against the checkpoint, the settings against those of the run that is
continued. Run again after any interruption, the same call goes on from the last checkpoint.
"""

import json
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, TrainingArguments
from transformers.trainer_utils import set_seed

from synthenticity.config import Config
from synthenticity.config_file import write_config
from synthenticity.durable import write_whole
from synthenticity.errors import CompatibilityError
from synthenticity.stream.dataset_consumer import DatasetConsumer
from synthenticity.stream.meta import Meta
from synthenticity.synthesis.checkpoints import resolve_device, resolve_dtype
from synthenticity.text.tokenization import load_tokenizer, tokenizer_fingerprint
from synthenticity.training.callbacks import (
    Flow,
    Freezing,
    Reporting,
    TrainProgress,
    signals_set,
)
from synthenticity.training.checks import (
    check_continuation,
    check_mode,
    check_settings,
    check_sizes,
    reports,
)
from synthenticity.training.loss import MODIFIERS, LossModifiers
from synthenticity.training.model import (
    ModelMode,
    build_language_model,
    build_scorer,
)
from synthenticity.training.objective import LanguageModelObjective, Objective, ScorerObjective
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
) -> TrainResult:
    """Train what `config.model_mode` says on the data in `config.data_dir`.

    Raises:
        CompatibilityError: data, checkpoint and config do not belong together.
        ProviderTimeoutError: the data did not come; says how to start a provider.
        KeyboardInterrupt: stopped by a signal, after a last checkpoint; the same call continues.

    """
    folder = Path(out_dir)
    check_settings(config, folder)
    resumed = check_continuation(config, folder)
    stop = threading.Event()
    with signals_set(stop):
        consumer = DatasetConsumer(
            config.data_dir,
            batch_size=config.batch_size,
            seed=config.seed,
            wait_seconds=config.wait_seconds,
            max_files=resumed[1].get("files") if resumed else None,
            stop=stop,
            on_wait=on_message,
            while_waiting=while_waiting,
        )
        check_mode(config, consumer.meta)
        consumer.choose_columns(OBJECTIVES[ModelMode(config.model_mode)].columns)
        check_sizes(config, consumer.meta)
        step, checkpoint = _take_position(consumer, resumed)
        done = _read_metrics(folder)
        if step >= config.max_iters and done.get("steps") == step:
            return TrainResult(folder, step, done["eval"], already_complete=True)
        if done and step:
            on_message(
                f"Training goes on from iteration {step} to {config.max_iters}; the learning rate "
                "follows the new, longer schedule."
            )
        trainer = _build_trainer(
            config,
            folder,
            consumer,
            start_step=step,
            stop=stop,
            on_progress=on_progress,
            on_message=on_message,
        )
        if checkpoint and step >= config.max_iters:  # killed before the model was saved
            trainer.restore(checkpoint)
        else:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        if stop.is_set():
            raise KeyboardInterrupt
    return _finish(trainer, folder)


def _take_position(
    consumer: DatasetConsumer, resumed: tuple[Path, dict[str, Any]] | None
) -> tuple[int, Path | None]:
    """Put the consumer where the checkpoint says, and return its step and folder."""
    if resumed is None:
        return 0, None
    folder, marker = resumed
    if marker["data_fingerprint"] != consumer.meta.fingerprint:
        raise CompatibilityError(
            f"{folder}: was trained on other data than {consumer.queue.directory} holds. "
            "Continue with the same data, or use another --out_dir."
        )
    consumer.position = int(marker["position"])
    consumer.acknowledge(consumer.position)  # in case the last run died before it could
    return int(marker["global_step"]), folder


def _build_trainer(
    config: Config,
    folder: Path,
    consumer: DatasetConsumer,
    *,
    start_step: int,
    stop: threading.Event,
    on_progress: Callable[[TrainProgress], None],
    on_message: Callable[[str], None],
) -> StreamTrainer:
    tokenizer = load_tokenizer(Path(config.data_dir) / "tokenizer")
    val = DatasetConsumer(
        config.data_dir,
        batch_size=config.batch_size,
        split="val",
        max_files=config.val_files,
        columns=consumer.columns,
        wait_seconds=config.wait_seconds,
        stop=stop,
        on_wait=on_message,
        while_waiting=consumer.while_waiting,
    )
    set_seed(config.seed)  # the new weights
    model, objective = build_model(config, consumer.meta, tokenizer, on_message)
    trainer = StreamTrainer(
        config=config,
        consumer=consumer,
        objective=objective,
        val_data=val.read_all(),
        start_step=start_step,
        model=model,
        args=_arguments(config, folder),
        processing_class=tokenizer,
    )
    trainer.remove_callback(PrinterCallback)
    for callback in (Freezing(config), Flow(trainer, stop), Reporting(on_progress)):
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
        objective = ScorerObjective(mse_weight=config.mse_weight, target=target)
        return build_scorer(config, tokenizer), objective
    modifiers = LossModifiers.from_config(config)
    model = build_language_model(config, tokenizer, on_message)
    return model, LanguageModelObjective(modifiers)


def _arguments(config: Config, folder: Path) -> TrainingArguments:
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(folder / "tensorboard")
    folder.mkdir(parents=True, exist_ok=True)
    write_config(config, folder / "config.toml")
    device = resolve_device(config.device)
    schedule = {"constant": "constant_with_warmup"}.get(config.lr_decay, config.lr_decay)
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=config.max_iters,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=max(config.batch_size, 32),
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        learning_rate=config.learning_rate,
        lr_scheduler_type=schedule,
        warmup_steps=config.warmup_iters,
        weight_decay=config.weight_decay,
        adam_beta2=0.98,
        max_grad_norm=config.max_grad_norm,
        bf16=resolve_dtype(config.dtype, device) == torch.bfloat16,
        use_cpu=device.type == "cpu",
        seed=config.seed,
        ignore_data_skip=True,
        eval_strategy="steps",
        eval_steps=config.eval_interval,
        save_strategy="steps",
        save_steps=config.save_interval,
        logging_nan_inf_filter=False,
        logging_steps=min(10, config.eval_interval),
        report_to=reports(config),
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=device.type == "cuda",
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # one device: several are for distributed training
    return arguments


def _finish(trainer: StreamTrainer, folder: Path) -> TrainResult:
    """Save the model where users look for it, and the history of its figures."""
    trainer.save_model(str(folder))
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
    write_whole(folder / "metrics.json", json.dumps(content, indent=2, sort_keys=True) + "\n")
    return TrainResult(folder, trainer.state.global_step, last)


def _read_metrics(folder: Path) -> dict[str, Any]:
    """Return what `_finish` wrote, last of all; nothing if it has not."""
    try:
        content: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content
