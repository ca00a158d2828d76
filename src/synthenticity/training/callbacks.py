"""What happens between two steps: freezing, saving, stopping, reporting.

`transformers.Trainer` calls these; each decides one thing and knows nothing of the others.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from transformers import TrainerCallback

from synthenticity.config import Config
from synthenticity.training.model import SequenceScorer
from synthenticity.training.stream_trainer import StreamTrainer


@dataclass(frozen=True)
class TrainProgress:
    """What training reports: the step, and the figures logged there (loss, eval_...)."""

    step: int
    max_steps: int
    figures: dict[str, float]


class Freezing(TrainerCallback):  # type: ignore[misc]
    """Freezes the encoder until `unfreeze_at_iteration`, also in a continued run."""

    def __init__(self, config: Config) -> None:
        self.freeze = config.freeze_transformer
        self.thaw_at = config.unfreeze_at_iteration

    def on_step_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **_kwargs: Any
    ) -> None:
        """Freeze or thaw as the step asks for."""
        frozen = self.freeze and (self.thaw_at == 0 or state.global_step < self.thaw_at)
        if isinstance(model, SequenceScorer):
            if model.encoder_frozen != frozen:
                model.freeze_encoder(frozen)
        elif self.freeze:
            model.base_model.requires_grad_(not frozen)


class Flow(TrainerCallback):  # type: ignore[misc]
    """Saves when the provider waits or the run is stopped, and evaluates the last weights."""

    def __init__(self, trainer: StreamTrainer, stop: threading.Event) -> None:
        self.trainer = trainer
        self.stop = stop

    def on_step_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        """Ask for a checkpoint or an evaluation where one is due."""
        if state.global_step >= state.max_steps:
            control.should_evaluate = True
        if self.trainer.must_let_go():
            control.should_save = True
        if self.stop.is_set():
            control.should_save = control.should_training_stop = True


class Reporting(TrainerCallback):  # type: ignore[misc]
    """Passes what is logged on to the caller."""

    def __init__(self, on_progress: Callable[[TrainProgress], None]) -> None:
        self.on_progress = on_progress

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_kwargs: Any) -> None:
        """Pass the figures on."""
        figures = {key: value for key, value in (logs or {}).items() if isinstance(value, float)}
        self.on_progress(TrainProgress(state.global_step, state.max_steps, figures))


@contextmanager
def signals_set(stop: threading.Event) -> Iterator[None]:
    """Within, SIGINT and SIGTERM ask for an orderly stop; a second one interrupts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_number: int, _frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
