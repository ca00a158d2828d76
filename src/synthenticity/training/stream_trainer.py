"""`StreamTrainer`: `transformers.Trainer` fed by a `DatasetConsumer`.

The Trainer gives the loop, schedules, mixed precision, checkpoints and reports. Ours are the
data, the parameter groups, the evaluation on the fixed val set, and the order of what happens at
a checkpoint: checkpoint on disk, then the position marker, then the acknowledgement. A
checkpoint without its marker is not one, so each sequence acts on the weights exactly once.
"""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from transformers import Trainer, TrainerState

from synthenticity.config import Config
from synthenticity.durable import flush
from synthenticity.errors import ModelError
from synthenticity.faults import point
from synthenticity.stream.batch_file import Columns
from synthenticity.stream.batch_queue import TRAIN
from synthenticity.stream.dataset_consumer import DatasetConsumer
from synthenticity.training.checkpoint_files import (
    SpaceWaiter,
    flush_folder,
    mark_position,
    remove_old_checkpoints,
)
from synthenticity.training.frozen_encoder import FrozenEncoder
from synthenticity.training.objective import Batch, Objective
from synthenticity.training.sharding import (
    shard,
    shown_whole,
    whole_optimizer_loaded,
    whole_weights_loaded,
)
from synthenticity.training.stopping import SharedFlag
from synthenticity.training.stream_loader import StreamLoader


class StreamTrainer(Trainer):  # type: ignore[misc]
    """Trains a model on a consumer's stream; see the module's text.

    Args:
        config: the settings of the run.
        consumer: of the train split, at the position where this run goes on.
        objective: what is optimised and watched.
        val_data: the whole val set.
        start_step: the global step that the consumer's position belongs to.
        stop: asks for an orderly stop.
        disk: writes what must not be lost.
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
        stop: SharedFlag,
        disk: SpaceWaiter,
        **kwargs: Any,
    ) -> None:
        self.stop = stop
        self.disk = disk
        self.ranks = disk.ranks
        self.loader: StreamLoader | None = None
        self.frozen_encoder: FrozenEncoder | None = None
        self.args: Any
        self.optimizer: Any
        self.control: Any
        self.settings = config
        self.consumer = consumer
        self.objective = objective
        self.val_data = val_data
        self._origin = consumer.position - start_step * self.rows_per_step
        self.sharded = config.shard_model and self.ranks.world_size > 1
        if self.sharded:
            shard(kwargs["model"])
        super().__init__(eval_dataset=[], **kwargs)
        if self.sharded:  # it shares its gradients itself: nothing is to be wrapped around it
            prepare = self.accelerator.prepare_model
            self.accelerator.prepare_model = partial(prepare, evaluation_mode=True)
        # Accumulated losses are to be averaged, whatever keywords the model's forward takes.
        self.model_accepts_loss_kwargs = False

    @property
    def rows_per_step(self) -> int:
        """Sequences that one optimizer step takes from the stream."""
        return self.settings.batch_size * self.settings.gradient_accumulation_steps

    def position_after(self, step: int) -> int:
        """Return the position in the stream of which the weights after a step are made."""
        return self._origin + step * self.rows_per_step

    def get_train_dataloader(self) -> StreamLoader:
        """Return the stream as it is: the consumer has cut the batches, and this rank's share."""
        self.loader = StreamLoader(
            self.consumer,
            workers=self.settings.dataloader_num_workers,
            stop=self.stop,
            pin_memory=self.args.dataloader_pin_memory,
        )
        return self.loader

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train, and end the data-loading workers however it ends."""
        try:
            return super().train(*args, **kwargs)
        finally:
            if self.loader is not None:
                self.loader.close()

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: Any
    ) -> tuple[list[Batch], Tensor | None]:
        """Return this process's batches of a step, and what the tokens of an average one weigh."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        return batches, self._mean_weight(batches)

    def _mean_weight(self, batches: list[Batch]) -> Tensor | None:
        """Return the mean over the batches of all processes; None for the batch's own.

        A step of a single batch is its own whole. The weights of the entropy modifier are known
        only after the prediction: `compute_loss` takes their mean over the processes, and batches
        that are accumulated count alike.
        """
        if len(batches) * self.ranks.world_size == 1:
            return None
        weights = [self.objective.weight(batch) for batch in batches]
        known = [weight for weight in weights if weight is not None]
        if len(known) < len(batches):
            return None
        mean = torch.stack(known).float().mean()
        return self.ranks.mean(mean.to(self.args.device))

    def compute_loss(
        self,
        model: Any,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Any:
        """Return the objective's loss; its mean over the step's batches is that of all its rows.

        An objective takes the model apart, but gradients are shared only of what goes through the
        wrapper's own forward: for the time of a call the model's forward is the loss.
        """

        def mean_weight(own: Tensor) -> Tensor:
            return self.ranks.mean(own) if num_items_in_batch is None else num_items_in_batch

        loss: Tensor
        if isinstance(model, DistributedDataParallel):
            with _forward_of(model.module, partial(self.objective.loss, mean_weight=mean_weight)):
                loss = model(inputs)
        else:
            loss = self.objective.loss(model, inputs, mean_weight)
        return (loss, None) if return_outputs else loss

    def _prepare_input(self, data: Any) -> Any:
        """Move a batch to the device while that computes, where the memory it lies in is pinned."""
        if isinstance(data, Tensor):
            return data.to(self.args.device, non_blocking=self.args.dataloader_pin_memory)
        return super()._prepare_input(data)

    def create_optimizer(self, model: Any = None) -> Any:
        """Make an optimizer that holds every parameter from the start, frozen ones included.

        Two pairs of groups (with and without weight decay): what is new (heads and channels), and
        the encoder. Their learning rates are multiplied by `head_lr_multiplier`, and by
        `unfreeze_lr_multiplier` if the encoder starts frozen. A matrix that both share is the
        encoder's.
        """
        if self.optimizer is not None:
            return self.optimizer
        target = self.model if model is None else model
        optimizer_class, arguments = self.get_optimizer_cls_and_kwargs(self.args, target)
        decayed = set(self.get_decay_parameter_names(target))
        encoder = {id(parameter) for parameter in self.objective.encoder_parameters(target)}
        rate = arguments["lr"]
        slowed = self.settings.freeze_transformer
        encoder_rate = rate * (self.settings.unfreeze_lr_multiplier if slowed else 1.0)
        head_rate = rate * self.settings.head_lr_multiplier
        groups: dict[tuple[bool, bool], list[Any]] = {}
        for name, parameter in target.named_parameters():
            groups.setdefault((id(parameter) not in encoder, name in decayed), []).append(parameter)
        self.optimizer = optimizer_class(
            [
                {
                    "params": parameters,
                    "lr": head_rate if is_head else encoder_rate,
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

    def whole(self, *, optimizer: bool = False) -> AbstractContextManager[None]:
        """Within, the model is whole to whoever saves it, its optimizer, too; all must enter."""
        if not self.sharded:
            return nullcontext()
        return shown_whole(self.model, self.optimizer if optimizer else None, kept=self.ranks.first)

    def _save(
        self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None
    ) -> None:
        """Save weights, configuration and tokenizer; not the pickled training arguments."""
        if not self.args.should_save:
            return
        folder = output_dir or self.args.output_dir
        self.model.save_pretrained(folder, state_dict=state_dict)
        point("model.weights_saved")
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
        cache = self.frozen_encoder.cache if self.frozen_encoder else None
        if cache is not None and cache.asked:
            logs = {**logs, "cached_share": cache.hits / cache.asked}
        super().log(logs, *args, **kwargs)

    def _stop_diverged(self, what: str) -> None:
        raise ModelError(
            f"train: the {what} is not finite at iteration {self.state.global_step}. Lower "
            "learning_rate or raise warmup_iters, and begin anew in another --out_dir."
        )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        mine = whole_weights_loaded(self.model) if self.sharded else nullcontext()
        with _loading(resume_from_checkpoint), mine:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if not self.sharded:
            with _loading(checkpoint):
                super()._load_optimizer_and_scheduler(checkpoint)
            return
        with _loading(checkpoint), whole_optimizer_loaded(self.optimizer), self._on_host():
            super()._load_optimizer_and_scheduler(checkpoint)

    @contextmanager
    def _on_host(self) -> Iterator[None]:
        """Within, files are read into the memory of the host, as a process alone reads them.

        The Trainer has each of several processes read the whole optimizer into its device, which
        holds a part.
        """
        args = self.args
        self.args = copy.copy(args)
        self.args._setup_devices = torch.device("cpu")  # what `args.device` is from
        try:
            yield
        finally:
            self.args = args

    def _is_finite(self) -> bool:
        """Return whether all weights are numbers, in all processes' parts."""
        own = (each.to_local() if self.sharded else each for each in self.model.parameters())
        (bad,) = self.ranks.largest(not all(bool(each.isfinite().all()) for each in own))
        return not bad

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with _loading(checkpoint):
            super()._load_rng_state(checkpoint)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if not self._is_finite():
            self._stop_diverged("model")
        step = self.state.global_step
        folder = Path(self.args.output_dir) / f"checkpoint-{step}"
        position = self.position_after(step)
        what = f"the checkpoint of iteration {step}"
        point("checkpoint.begun")
        with self.whole(optimizer=True):
            self.disk.write(what, lambda: self._write_checkpoint(model, trial, folder), half=folder)
        point("checkpoint.flushed")
        # `write` is done when all ranks are: only now is everything there that the marker vouches
        # for, and the first one writes what is not each one's own.
        self.disk.write(what, lambda: self._mark_checkpoint(folder, step, position))
        point("checkpoint.marked")
        self.disk.write(
            "the acknowledgement",
            lambda: self._acknowledge(position),
            folder=self.consumer.queue.directory,
        )
        point("checkpoint.acknowledged")
        if self.ranks.first:
            remove_old_checkpoints(folder.parent)
        point("checkpoint.cleaned")

    def _write_checkpoint(self, model: Any, trial: Any, folder: Path) -> None:
        super()._save_checkpoint(model, trial)
        point("checkpoint.saved")
        if self.ranks.first:
            flush_folder(folder)
        else:
            flush(folder / f"rng_state_{self.ranks.rank}.pth")

    def _mark_checkpoint(self, folder: Path, step: int, position: int) -> None:
        if self.ranks.first:
            mark_position(folder, step, position, self.consumer)

    def _acknowledge(self, position: int) -> None:
        if self.ranks.first:
            self.consumer.acknowledge(position)

    def restore(self, checkpoint: Path) -> None:
        """Take the weights and the history of a checkpoint, without a step."""
        self._load_from_checkpoint(str(checkpoint))
        self.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))

    def must_let_go(self) -> bool:
        """Whether the provider can only go on after an acknowledgement.

        True when the file after those of the next step is not there, the backlog's bound keeps the
        provider from making it, and files behind could be let go of: then a checkpoint is due, so
        that the provider works while the last file is eaten. (A provider that is merely slower
        needs no checkpoint; but a step of several files is not interrupted to make one.)
        """
        if self.consumer.rows_per_epoch is not None:
            return False
        queue, per_file = self.consumer.queue, self.consumer.meta.rows_per_file
        position = self.position_after(self.state.global_step)
        following = (position + self.rows_per_step) // per_file + 1
        if queue.path(TRAIN, following).exists():
            return False
        most = queue.bound(self.settings.max_backlog_files)
        first = queue.first_unacknowledged()
        bound = following >= first + most or len(queue.numbers(TRAIN)) >= most
        return bound and position // per_file > first


@contextmanager
def _forward_of(model: Any, loss: Callable[[Any, Batch], Tensor]) -> Iterator[None]:
    """Within, a call of the model takes a batch and returns its loss."""
    forward = model.forward

    def loss_of(batch: Batch) -> Tensor:
        model.forward = forward
        return loss(model, batch)

    model.forward = loss_of
    try:
        yield
    finally:
        model.forward = forward


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
