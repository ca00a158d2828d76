"""Live views of the commands on standard error, and their results: what a person watches.

On a terminal a view is redrawn in place; into a file or a pipe it writes a line now and then.
"""

import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from synthenticity.colours import colours_of
from synthenticity.data_card import int8_words, with_int8
from synthenticity.display import (
    figures_table,
    format_figure,
    heat_legend,
    heat_text,
    histogram_line,
    stacked_tables,
)

if TYPE_CHECKING:
    from synthenticity.providers.run import PrepareProgress
    from synthenticity.records.run import FillProgress, FillResult
    from synthenticity.records.scores import ScoreProgress, ScoreResult
    from synthenticity.training.callbacks import TrainProgress
    from synthenticity.training.train import TrainResult

PLAIN_SECONDS = 10.0
QUICK_SECONDS = 2.0
"""What takes no longer needs no picture."""


class View:
    """A live display on a terminal, or a line every ten seconds elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live = Live(console=console, transient=True, refresh_per_second=4)
        self._next_line = 0.0

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def message(self, text: str) -> None:
        """Say something that stays."""
        self.console.print(text, markup=False)

    def show(self, picture: RenderableType, line: str, *, always: bool = False) -> None:
        """Draw the picture on a terminal; elsewhere write the line if it is time for one."""
        if self.console.is_terminal:
            self._live.update(picture)
        elif always or time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + PLAIN_SECONDS
            self.console.print(line, markup=False)


class PrepareView(View):
    """Files, rates, backlog, time left and the histogram of what is made."""

    _waiting = False
    _reason = ""

    def update(self, progress: "PrepareProgress") -> None:
        """Draw the state of a provider."""
        if progress.reason and progress.reason != self._reason:
            self.message(progress.reason)
        self._reason = progress.reason
        waits = "(waiting)" if progress.reason else "(backlog full, waiting)"
        seconds = max(progress.seconds, 1e-9)
        rate = progress.sequences_made / seconds
        figures: dict[str, Any] = {
            "files": str(progress.files_made)
            + (f" of {progress.files_wanted}" if progress.files_wanted is not None else ""),
            "split": progress.split + f" {waits}" * progress.waiting,
            "samples/s": rate,
            "tokens/s": progress.tokens_made / seconds,
        }
        if progress.files_wanted is None:
            figures["backlog"] = progress.backlog
        elif progress.files_made:
            left = (progress.files_wanted - progress.files_made) * seconds / progress.files_made
            figures["time left"] = format_seconds(left)
        summary = progress.summary
        line = "  ".join(f"{name} {format_figure(value)}" for name, value in figures.items())
        figures[summary.graded] = f"0 {histogram_line(summary.histogram().tolist())} 1"
        finished = progress.files_made == progress.files_wanted
        begins_to_wait = progress.waiting and not self._waiting
        self._waiting = progress.waiting
        if not progress.waiting or begins_to_wait or self.console.is_terminal:
            always = begins_to_wait or finished
            self.show(figures_table("prepare", figures), line, always=always)

    @staticmethod
    def summary_table(title: str, summary: dict[str, Any]) -> Table:
        """Return the figures of a finished run, or of a split."""
        figures: dict[str, Any] = {}
        for key, value in summary.items():
            if isinstance(value, dict) and "histogram" in value:
                figures[f"{key} mean"] = value["mean"]
                quantiles = (f"{number:.2f}" for number in value["quantiles"].values())
                figures[f"{key} quantiles {'/'.join(value['quantiles'])}"] = " ".join(quantiles)
                figures[key] = f"0 {histogram_line(value['histogram'])} 1"
            elif key == "int8":
                figures |= _int8_figures(value)
            elif isinstance(value, dict):
                figures[key] = "\n".join(f"{name}: {count:,}" for name, count in value.items())
            else:
                figures[key] = value
        return figures_table(title, figures)


class FillView(View):
    """Documents, rates and how many could not be used."""

    def update(self, progress: "FillProgress") -> None:
        """Draw how far a run of `fill` is."""
        seconds = max(progress.seconds, 1e-9)
        figures: dict[str, Any] = {
            "documents": progress.documents,
            "documents/s": progress.new_documents / seconds,
            "filled tokens/s": progress.new_tokens / seconds,
            "not usable": progress.rejected,
        }
        line = "  ".join(f"{name} {format_figure(value)}" for name, value in figures.items())
        self.show(figures_table("fill", figures), line)

    @staticmethod
    def summary(result: "FillResult") -> dict[str, Any]:
        """Return the figures of a finished run."""
        return {
            "out": str(result.out),
            "records": result.records,
            "rejected": result.rejected,
            "filled_tokens": result.progress.written_tokens,
            "readings_spared": result.progress.readings_spared,
            **with_int8(result.made_with),
            "seconds": round(result.progress.seconds, 1),
            "artefacts": result.alarm.sentence() if result.alarm else "not measured",
        }

    @staticmethod
    def result_table(result: "FillResult") -> Table:
        """Return the figures of a finished run, and the first reasons of what was left out."""
        figures = FillView.summary(result)
        figures |= _int8_figures(figures.pop("int8", {}))
        reasons = Counter(result.reasons).most_common(3)
        figures |= {f"not usable: {reason}": count for reason, count in reasons}
        if result.rejected_list is not None:
            figures["all of them"] = str(result.rejected_list)
        return figures_table("filled", figures)


class ScoreView(View):
    """Documents, rates, the time left, and how many could not be used."""

    def update(self, progress: "ScoreProgress") -> None:
        """Draw how far a run of `score` is."""
        seconds = max(progress.seconds, 1e-9)
        figures: dict[str, Any] = {"documents": progress.documents}
        if progress.all_characters:
            figures["done"] = f"{progress.characters / progress.all_characters:.0%}"
        if progress.new_documents:  # none while the first chunk is scored
            figures["documents/s"] = progress.new_documents / seconds
        figures["characters/s"] = progress.new_characters / seconds
        if progress.seconds_left is not None:
            figures["time left"] = format_seconds(progress.seconds_left)
        figures["not usable"] = progress.unusable
        line = "  ".join(f"{name} {format_figure(value)}" for name, value in figures.items())
        finished = progress.characters == progress.all_characters
        self.show(figures_table("score", figures), line, always=finished)

    @staticmethod
    def summary(result: "ScoreResult") -> dict[str, Any]:
        """Return the figures of a finished run."""
        return {
            "out": str(result.out),
            "rows": result.rows,
            "mean_synthenticity": result.mean,
            "verdicts": result.verdicts,
            "abstained": result.abstained,
            "unusable": result.unusable,
            "seconds": round(result.progress.seconds, 1),
        }

    @staticmethod
    def result_table(result: "ScoreResult") -> Table:
        """Return the figures of a finished run, and the reasons of what has no score."""
        figures = ScoreView.summary(result)
        verdicts, abstained = figures.pop("verdicts"), figures.pop("abstained")
        figures |= verdicts | {f"abstained: {why}": count for why, count in abstained.items()}
        if result.unusable_list is not None:
            figures["the unusable are listed in"] = str(result.unusable_list)
        return figures_table("scored", figures)


class TextView(View):
    """How much of one long text is scored, and the time left; nothing of a short one."""

    _first: tuple[float, float] | None = None
    """When the first batch was done, and which share it was."""

    def update(self, share: float) -> None:
        """Draw that such a share of the text is scored."""
        self._first = self._first or (time.monotonic(), share)
        began, first = self._first
        spent = time.monotonic() - began
        if spent >= QUICK_SECONDS:
            left = format_seconds(spent * (1 - share) / (share - first))
            figures = {"scored": f"{share:.0%}", "time left": left}
            self.show(figures_table("score", figures), f"scored {share:.0%}  time left {left}")


class TrainView(View):
    """The step, the loss and the last evaluation."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._started = time.monotonic()
        self._first_step: int | None = None
        self._figures: dict[str, float] = {}

    def update(self, progress: "TrainProgress") -> None:
        """Draw the state of a training run."""
        if self._first_step is None:
            self._first_step = progress.step
        self._figures |= progress.figures
        done = progress.step - self._first_step
        spent = time.monotonic() - self._started
        shown: dict[str, Any] = {"iteration": f"{progress.step} of {progress.max_steps}"}
        if done > 0:
            shown["time left"] = format_seconds(spent * (progress.max_steps - progress.step) / done)
        shown |= {
            key: value
            for key, value in self._figures.items()
            if key in ("loss", "learning_rate", "cached_share") or key.startswith("eval_")
        }
        evaluated = any(key.startswith("eval_") for key in progress.figures)
        line = "  ".join(
            f"{key} {format_figure(value)}"
            for key, value in shown.items()
            if key in ("iteration", "time left", "loss", "eval_loss", "eval_mae", "eval_accuracy")
        )
        self.show(figures_table("train", shown), line, always=evaluated)

    @staticmethod
    def result_table(result: "TrainResult") -> Table:
        """Return the last evaluation of a finished run."""
        title = "already complete; raise max_iters to train longer" * result.already_complete
        figures = {"directory": str(result.out_dir), "iterations": result.steps}
        return figures_table(title or "trained", {**figures, **result.metrics})


DEMO_COLUMNS = {
    "MAE": "mae",
    "Pearson r": "pearson",
    "token AUROC": "token_auroc",
    "within documents": "token_auroc_filled_within",
    "untouched text scores": "human_mean",
}


class DemoView(View):
    """The stages of the demo, each with what it does now."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._started = time.monotonic()
        self._prepare, self._train = PrepareView(console), TrainView(console)

    def stage(self, title: str, command: str = "") -> None:
        """Begin a stage, with the command that would do the same."""
        spent = format_seconds(time.monotonic() - self._started)
        self.message(f"[{spent:>6}] {title}" + (f"\n         $ {command}" if command else ""))
        self._train = TrainView(self.console)
        self._train._live = self._prepare._live = self._live

    def update_prepare(self, progress: "PrepareProgress") -> None:
        """Draw the provider's state."""
        self._prepare.update(progress)

    def update_train(self, progress: "TrainProgress") -> None:
        """Draw the trainer's state."""
        self._train.update(progress)

    @staticmethod
    def print_results(console: Console, results: dict[str, Any], out: Path) -> None:
        """Print the held-out figures, a coloured paragraph and where everything lies."""
        for table in _demo_tables(results, console.width):
            console.print(table)
        sample, colours = results["sample"], colours_of(console)
        console.print()
        console.print(sample_text(sample, colours))
        console.print()
        console.print(heat_legend(colours))
        console.print(
            f"true synthenticity {sample['true']:.3f}, predicted {sample['predicted']:.3f}"
        )
        console.print(
            f"\nreport   {out / 'report.html'}\nfigures  {out / 'results.json'}\n"
            f"models   {out / 'mlm'}  {out / 'scorer'}\n"
            f"try      synthenticity score {out / 'scorer'} FILE\n"
            f"took     {format_seconds(results['seconds'])}",
            markup=False,
        )


def _demo_tables(results: dict[str, Any], width: int) -> list[Table]:
    """Return the demo's figures, in tables of such a width."""
    from synthenticity.demo import ABOUT_RECIPES, PLAN, SHORT_NAMES

    rows = {"scorer": results["scorer"], PLAN: results["plan_recipe"]}
    rows |= {name: results["baselines"][short] for name, short in SHORT_NAMES.items()}
    columns = {
        name: [f"{figures[key]:.3f}" if key in figures else "" for figures in rows.values()]
        for name, key in DEMO_COLUMNS.items()
    }
    title = "held-out plays, ratios 0.1-0.7"
    return stacked_tables(title, list(rows), columns, width, ABOUT_RECIPES)


def _int8_figures(models: dict[str, dict[str, float]]) -> dict[str, str]:
    """Return what int8 changes of each model, in words."""
    return {name: int8_words(figures) for name, figures in models.items()}


def sample_text(sample: dict[str, Any], colours: str | None) -> Text:
    """Return the demo's paragraph in the colours of its token probabilities."""
    import numpy as np

    starts = np.arange(len(sample["text"]))
    offsets = np.stack([starts, starts + 1], axis=1)
    return heat_text(sample["text"], offsets, np.array(sample["probabilities"]), colours)


def format_seconds(seconds: float) -> str:
    """Return a duration as people read it.

    >>> format_seconds(75), format_seconds(3.2)
    ('1m15s', '3s')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"
