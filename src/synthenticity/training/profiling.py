"""Where the time of a training run goes: `train --profile`.

The parts of a step are methods of the trainer and of what it drives. While a run is profiled they
are wrapped, otherwise nothing is measured; what no part accounts for is "the rest". PyTorch's own
profiler looks at some of the steps and writes a trace, which Perfetto and chrome://tracing open.
The first steps of a process are left out: they fetch memory and code. A report that cannot be made
is said to be so; it ends no run.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ContextDecorator, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function
from transformers import TrainerCallback

from synthenticity.durable import make_folder, write_whole
from synthenticity.training.stream_trainer import StreamTrainer

WARM_UP_STEPS = 3
TOP_OPERATORS = 8
REST = "the rest"


class Profiling(TrainerCallback):  # type: ignore[misc]
    """Measures a run from its fourth step on, and traces `steps` of its steps.

    Args:
        trainer: whose parts are measured, from its first step on.
        folder: gets the trace and the table, named by the first step that they are about.
        steps: that the trace shows.
        on_message: is told the table.

    """

    def __init__(
        self, trainer: StreamTrainer, folder: Path, steps: int, on_message: Callable[[str], None]
    ) -> None:
        self.trainer, self.folder, self.steps = trainer, folder, steps
        self.on_gpu = trainer.args.device.type == "cuda"
        self.on_message = on_message
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.first: int | None = None
        self._seen = 0
        self._began = 0.0
        self._trace: Any = None
        self._operators = ""
        self._written: list[str] = []
        self._wrapped = ExitStack()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        """Begin to measure."""
        if not self._seen:
            for part, owner, name in self._parts():
                self._wrapped.enter_context(_each_call(owner, name, self._timed(part)))

    def on_step_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:
        """Begin the trace after the warm-up, and end it in time."""
        self._seen += 1
        if self._seen == WARM_UP_STEPS:
            self._begin_trace()
            self.first = state.global_step
            self.seconds.clear()
            self._began = time.perf_counter()
        elif self._seen == WARM_UP_STEPS + self.steps:
            self._end_trace()

    def close(self) -> None:
        """End the measurement however the run ended, and report what there is."""
        self._end_trace()
        self._wrapped.close()
        steps = self._seen - WARM_UP_STEPS
        if steps <= 0:
            self.on_message(
                f"profile: nothing measured, the run made {self._seen} iterations and the first "
                f"{WARM_UP_STEPS} are left out. Raise max_iters."
            )
            return
        whole = time.perf_counter() - self._began
        text = f"{self._table(whole, steps)}\n\n{self._operators}".strip()
        with self._writing(f"times-{self.first}.txt") as path:
            write_whole(path, text + "\n")
        self.on_message("\n".join([text, *self._written]))

    def _parts(self) -> list[tuple[str, Any, str]]:
        trainer = self.trainer
        return [
            ("waiting for data", trainer, "get_batch_samples"),
            ("moving", trainer, "_prepare_inputs"),
            ("forward", trainer, "compute_loss"),
            ("backward", trainer.accelerator, "backward"),
            ("optimizer", trainer.accelerator, "clip_grad_norm_"),
            ("optimizer", trainer.optimizer, "step"),
            ("optimizer", trainer.model, "zero_grad"),
            ("evaluation", trainer, "evaluate"),
            ("checkpoints", trainer, "_save_checkpoint"),
        ]

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        with record_function(f"synthenticity: {part}"):
            try:
                yield
            finally:
                if self.on_gpu:  # what was only asked for is to be done, too
                    torch.cuda.synchronize()
                self.seconds[part] += time.perf_counter() - start

    def _begin_trace(self) -> None:
        with self._failure_said("the trace"):
            activities = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * self.on_gpu]
            self._trace = profile(activities=activities)
            self._trace.start()

    def _end_trace(self) -> None:
        """Write the trace, unless it shows no step."""
        trace, self._trace = self._trace, None
        if trace is None:
            return
        start, steps = time.perf_counter(), self._seen - WARM_UP_STEPS
        with self._failure_said("the trace"):
            trace.stop()
            if steps > 0:
                self._operators = operators_table(trace, steps, on_gpu=self.on_gpu)
                with self._writing(f"trace-{self.first}.json") as path:
                    trace.export_chrome_trace(str(path))
        self._began += time.perf_counter() - start

    @contextmanager
    def _writing(self, name: str) -> Iterator[Path]:
        """Within, a file of the profile is written; what fails is told, and the run goes on."""
        path = self.folder / name
        with self._failure_said(str(path)):
            make_folder(self.folder)
            yield path
            self._written.append(f"Written: {path}")

    @contextmanager
    def _failure_said(self, what: str) -> Iterator[None]:
        """Within, whatever fails is told, and the run goes on."""
        try:
            yield
        except Exception as error:
            self.on_message(
                f"profile: {what} could not be made ({type(error).__name__}: {error}). The run "
                "goes on without it."
            )

    def _table(self, whole: float, steps: int) -> str:
        parts = dict.fromkeys([part for part, _, _ in self._parts()], 0.0) | self.seconds
        parts[REST] = max(whole - sum(parts.values()), 0.0)
        rows = [
            f"{part:<18} {seconds / steps * 1000:>12.1f} {seconds / whole:>8.1%}"
            for part, seconds in [*parts.items(), ("a step", whole)]
        ]
        title = f"Iterations {(self.first or 0) + 1} to {(self.first or 0) + steps}"
        return "\n".join([title, f"{'':<18} {'ms per step':>12} {'share':>8}", *rows])


@contextmanager
def profiled(
    trainer: StreamTrainer, folder: Path, steps: int | None, on_message: Callable[[str], None]
) -> Iterator[None]:
    """Within, the trainer's run is measured, and traced for so many steps; None: not at all."""
    if steps is None or not trainer.ranks.first:
        yield
        return
    profiling = Profiling(trainer, folder / "profile", steps, on_message)
    trainer.add_callback(profiling)
    try:
        yield
    finally:
        profiling.close()


@contextmanager
def _each_call(owner: Any, name: str, within: ContextDecorator) -> Iterator[None]:
    """Within, each call of an object's method happens in a context."""
    setattr(owner, name, within(getattr(owner, name)))
    try:
        yield
    finally:
        delattr(owner, name)


def operators_table(trace: Any, steps: int, *, on_gpu: bool) -> str:
    """Return the operators that took most of the traced steps, by their own time."""
    device = "device" if on_gpu else "cpu"
    entries = [
        (getattr(event, f"self_{device}_time_total") / 1000, event)
        for event in trace.key_averages()
        if not event.key.startswith(("synthenticity: ", "ProfilerStep"))
    ]
    whole = sum(time for time, _ in entries) or 1.0  # a GPU whose events are not recorded: all 0
    top = sorted(entries, key=lambda entry: entry[0], reverse=True)[:TOP_OPERATORS]
    rows = [
        f"{event.key[:35]:<36} {milliseconds / steps:>12.1f} {milliseconds / whole:>8.1%} "
        f"{event.count / steps:>10.0f}"
        for milliseconds, event in top
    ]
    head = f"{'operators':<36} {'ms per step':>12} {'share':>8} {'calls':>10}"
    return "\n".join([head, *rows])
