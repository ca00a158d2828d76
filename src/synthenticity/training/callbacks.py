"""What happens between two steps: saving, stopping, reporting.

`transformers.Trainer` calls these; each decides one thing and knows nothing of the others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from shutil import disk_usage
from typing import Any

from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback

from synthenticity.durable import is_full
from synthenticity.faults import point
from synthenticity.training.stream_trainer import StreamTrainer

SPACE_OF_FIGURES = 2**16


@dataclass(frozen=True)
class TrainProgress:
    """What training reports: the step, and the figures logged there (loss, eval_...)."""

    step: int
    max_steps: int
    figures: dict[str, float]


class Flow(TrainerCallback):  # type: ignore[misc]
    """Saves when the provider waits or the run is stopped, and evaluates the last weights.

    What the disk and the signals say is decided by all ranks together.
    """

    def __init__(self, trainer: StreamTrainer) -> None:
        self.trainer = trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        """Ask for a checkpoint or an evaluation where one is due."""
        point("step.taken")
        ranks, stop = self.trainer.ranks, self.trainer.stop
        let_go, stopped = ranks.largest(
            ranks.first and self.trainer.must_let_go(),
            stop.is_set(),
        )
        if state.global_step >= state.max_steps:
            control.should_evaluate = True
        if let_go:
            control.should_save = True
        if stopped:
            stop.set()
            control.should_save = control.should_training_stop = True


class Reporting(TrainerCallback):  # type: ignore[misc]
    """Passes what is logged on to the caller."""

    def __init__(self, on_progress: Callable[[TrainProgress], None]) -> None:
        self.on_progress = on_progress

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_kwargs: Any) -> None:
        """Pass the figures on."""
        figures = {key: value for key, value in (logs or {}).items() if isinstance(value, float)}
        self.on_progress(TrainProgress(state.global_step, state.max_steps, figures))


class Curves(TensorBoardCallback):  # type: ignore[misc]
    """TensorBoard's reports; a full disk costs some of their figures, not the run.

    A failed write would end the writer's thread, so nothing is written while there is hardly any
    space. Where that is not seen beforehand (a quota), a new writer begins a file of its own.
    """

    def __init__(self, on_message: Callable[[str], None]) -> None:
        super().__init__()
        self.tb_writer: Any
        self.on_message = on_message
        self.said = False

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Begin a file."""
        self._unless_full(super().on_train_begin, *args, **kwargs)

    def on_log(self, *args: Any, **kwargs: Any) -> None:
        """Write figures."""
        self._unless_full(super().on_log, *args, **kwargs)

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        """Close the file."""
        self._unless_full(super().on_train_end, *args, **kwargs)

    def _unless_full(self, report: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        if self.tb_writer is not None and disk_usage(self.logging_dir).free < SPACE_OF_FIGURES:
            self._say()
            return
        try:
            report(*args, **kwargs)
        except OSError as error:
            if not is_full(error):
                raise
            self.tb_writer = None
            self._say()

    def _say(self) -> None:
        if not self.said:
            self.on_message(f"The disk of {self.logging_dir} is full; figures are left out.")
            self.said = True
