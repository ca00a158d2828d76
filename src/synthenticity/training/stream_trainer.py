"""`StreamTrainer`: `transformers.Trainer` fed by a `DatasetConsumer`.

The Trainer gives the loop, schedules, mixed precision, checkpoints and reports. Ours are the
data, the parameter groups, the evaluation on the fixed val set, and the order of what happens at
a checkpoint: checkpoint on disk, then the position marker, then the acknowledgement. A
checkpoint without its marker is not one, so each sequence acts on the weights exactly once.
"""

import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset
from transformers import Trainer, TrainerState

from synthenticity.config import Config
from synthenticity.durable import flush, write_whole
from synthenticity.errors import ModelError
from synthenticity.stream.batch_file import Columns
from synthenticity.stream.batch_queue import TRAIN
from synthenticity.stream.dataset_consumer import DatasetConsumer
from synthenticity.training.objective import Batch, Objective

POSITION_NAME = "stream.json"
KEPT_CHECKPOINTS = 2


class _Stream(IterableDataset[Batch]):
    """The consumer's batches, without end."""

    def __init__(self, consumer: DatasetConsumer) -> None:
        self.consumer = consumer

    def __iter__(self) -> Iterator[Batch]:
        while True:
            batch = self.consumer.get_batch()
            if not isinstance(batch, dict):  # (X, Y): the schema's one input and one target
                batch = dict(zip(self.consumer.columns, batch, strict=True))
            yield batch


class StreamTrainer(Trainer):  # type: ignore[misc]
    """Trains a model on a consumer's stream; see the module's text.

    Args:
        config: the settings of the run.
        consumer: of the train split, at the position where this run goes on.
        objective: what is optimised and watched.
        val_data: the whole val set.
        start_step: the global step that the consumer's position belongs to.
        kwargs: what `transformers.Trainer` takes.

    """

    def __init__(
        self,
        *,
        config: Config,
        consumer: DatasetConsumer,
        objective: Objective,
        val_data: Columns,
        start_step: int,
        **kwargs: Any,
    ) -> None:
        self.optimizer: Any
        self.control: Any
        self.settings = config
        self.consumer = consumer
        self.objective = objective
        self.val_data = val_data
        self._origin = consumer.position - start_step * self.rows_per_step
        super().__init__(train_dataset=_Stream(consumer), eval_dataset=[], **kwargs)
        # The loss is a batch's mean, so accumulated losses are to be averaged, whatever keywords
        # the model's forward takes.
        self.model_accepts_loss_kwargs = False

    @property
    def rows_per_step(self) -> int:
        """Sequences that one optimizer step takes from the stream."""
        return self.settings.batch_size * self.settings.gradient_accumulation_steps

    def position_after(self, step: int) -> int:
        """Return the position in the stream of which the weights after a step are made."""
        return self._origin + step * self.rows_per_step

    def get_train_dataloader(self) -> DataLoader[Batch]:
        """Return the stream as it is: the consumer has cut the batches already.

        The loader has a generator of its own, so that starting it draws nothing from the global
        one, whose state a resumed run takes from the checkpoint.
        """
        return DataLoader(self.train_dataset, batch_size=None, generator=torch.Generator())

    def compute_loss(
        self, model: Any, inputs: Batch, return_outputs: bool = False, **_kwargs: Any
    ) -> Any:
        """Return the objective's loss."""
        loss: Tensor = self.objective.loss(model, inputs)
        return (loss, None) if return_outputs else loss

    def create_optimizer(self, model: Any = None) -> Any:
        """Make an optimizer that holds every parameter from the start, frozen ones included.

        Two pairs of groups (with and without weight decay): the heads, and the encoder, whose
        learning rate is multiplied by `unfreeze_lr_multiplier` if it starts frozen.
        """
        if self.optimizer is not None:
            return self.optimizer
        target = self.model if model is None else model
        optimizer_class, arguments = self.get_optimizer_cls_and_kwargs(self.args, target)
        decayed = set(self.get_decay_parameter_names(target))
        heads = {
            id(parameter)
            for module in self.objective.head_modules(target)
            for parameter in module.parameters()
        }
        rate = arguments["lr"]
        slowed = self.settings.freeze_transformer
        encoder_rate = rate * (self.settings.unfreeze_lr_multiplier if slowed else 1.0)
        groups: dict[tuple[bool, bool], list[Any]] = {}
        for name, parameter in target.named_parameters():
            groups.setdefault((id(parameter) in heads, name in decayed), []).append(parameter)
        self.optimizer = optimizer_class(
            [
                {
                    "params": parameters,
                    "lr": rate if is_head else encoder_rate,
                    "weight_decay": self.args.weight_decay if decays else 0.0,
                }
                for (is_head, decays), parameters in sorted(
                    groups.items(), key=lambda item: item[0]
                )
            ],
            **arguments,
        )
        return self.optimizer

    def evaluate(self, *_args: Any, **_kwargs: Any) -> dict[str, float]:
        """Return the objective's figures on the val set, prefixed `eval_`, and report them."""
        self.model.eval()
        with self.compute_loss_context_manager():
            figures = self.objective.evaluate(
                self.model, self.val_data, self.args.per_device_eval_batch_size
            )
        prefixed = {f"eval_{key}": value for key, value in figures.items()}
        self.log(prefixed)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, prefixed
        )
        return prefixed

    def _save(
        self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None
    ) -> None:
        """Save weights, configuration and tokenizer; not the pickled training arguments."""
        folder = output_dir or self.args.output_dir
        self.model.save_pretrained(folder, state_dict=state_dict)
        if self.processing_class is not None:
            self.processing_class.save_pretrained(folder)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Report figures.

        Raises:
            ModelError: the loss is no number any more.

        """
        for name in ("loss", "eval_loss"):
            if not math.isfinite(logs.get(name, 0.0)):
                self._stop_diverged(name)
        super().log(logs, *args, **kwargs)

    def _stop_diverged(self, what: str) -> None:
        raise ModelError(
            f"train: the {what} is not finite at iteration {self.state.global_step}. Lower "
            "learning_rate or raise warmup_iters, and begin anew in another --out_dir."
        )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        with _loading(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with _loading(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with _loading(checkpoint):
            super()._load_rng_state(checkpoint)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if not all(bool(p.isfinite().all()) for p in self.model.parameters()):
            self._stop_diverged("model")
        try:
            super()._save_checkpoint(model, trial)
        except (RuntimeError, SafetensorError) as error:  # what the writers make of a full disk
            raise ModelError(
                f"{self.args.output_dir}: the checkpoint cannot be written "
                f"({str(error).splitlines()[0]}). Free space; the same command goes on from the "
                "checkpoint before."
            ) from error
        step = self.state.global_step
        out_dir = Path(self.args.output_dir)
        folder = out_dir / f"checkpoint-{step}"
        position = self.position_after(step)
        _flush_files(folder)
        mark_position(folder, step, position, self.consumer)
        self.consumer.acknowledge(position)
        remove_old_checkpoints(out_dir)

    def restore(self, checkpoint: Path) -> None:
        """Take the weights and the history of a checkpoint, without a step."""
        self._load_from_checkpoint(str(checkpoint))
        self.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))

    def must_let_go(self) -> bool:
        """Whether the provider can only go on after an acknowledgement.

        True when the file after the one in use is not there yet and files behind could be let
        go of: then a checkpoint is due, so that the provider works while the last file is eaten.
        """
        if self.consumer.rows_per_epoch is not None:
            return False
        queue, per_file = self.consumer.queue, self.consumer.meta.rows_per_file
        position = self.position_after(self.state.global_step)
        current = position // per_file
        following = (position + self.rows_per_step) // per_file + 1
        return current > queue.first_unacknowledged() and not queue.path(TRAIN, following).exists()


@contextmanager
def _loading(checkpoint: str | None) -> Iterator[None]:
    """Within, whatever is wrong with a checkpoint becomes an error that names it and the mend."""
    try:
        yield
    except Exception as error:
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            f"{checkpoint}: is damaged ({words[0]}). Remove it; training goes on from the "
            "checkpoint before it, or anew."
        ) from error


def mark_position(folder: Path, step: int, position: int, consumer: DatasetConsumer) -> None:
    """Write the marker that makes a checkpoint complete, atomically."""
    content = {
        "global_step": step,
        "position": position,
        "data_fingerprint": consumer.meta.fingerprint,
        "files": consumer.files,
    }
    write_whole(folder / POSITION_NAME, json.dumps(content))
    flush(folder.parent)


def newest_checkpoint(out_dir: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest complete checkpoint of a run and its marker, or None."""
    return next(iter(_complete_checkpoints(out_dir)), None)


def _complete_checkpoints(out_dir: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Return the complete checkpoints with their markers, the newest first.

    Raises:
        ModelError: a marker is damaged.

    """
    found = []
    for marker in out_dir.glob(f"checkpoint-*/{POSITION_NAME}"):
        try:
            json.loads((marker.parent / "trainer_state.json").read_text(encoding="utf-8"))
            content = json.loads(marker.read_text(encoding="utf-8"))
            found.append((int(content["global_step"]), marker.parent, content))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{marker.parent}: is damaged ({error}). Remove it; training goes on from the "
                "checkpoint before it, or anew."
            ) from None
    return [(folder, content) for _, folder, content in sorted(found, reverse=True)]


def remove_old_checkpoints(out_dir: Path) -> None:
    """Keep the newest complete checkpoints; incomplete ones never count among them."""
    kept = [folder for folder, _ in _complete_checkpoints(out_dir)[:KEPT_CHECKPOINTS]]
    for folder in out_dir.glob("checkpoint-*"):
        if folder not in kept:
            shutil.rmtree(folder)


def _flush_files(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
