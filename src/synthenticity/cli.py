"""The command `synthenticity`: thin, lazy, and the only place that prints or ends the process.

Results go to standard output, progress and messages to standard error. Exit codes: 0 good, 1 the
check asked for failed, 2 a user's error (one line, no traceback), 130 interrupted. `--help`
answers without importing torch. Options accept `-` and `_` alike.
"""

import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter

from synthenticity import __version__
from synthenticity.errors import ConfigError, CorpusError, SynthenticityError

if TYPE_CHECKING:
    from rich.console import Console

    from synthenticity.config import Config

GOOD, CHECK_FAILED, USER_ERROR, INTERRUPTED = 0, 1, 2, 130

app = App(
    name="synthenticity",
    version=__version__,
    help="Say how much of a text a machine wrote, and which words.",
    help_epilogue="Every setting of a config may be given as an option: docs/configuration.md.",
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # `run` answers it
)

ConfigPath = Annotated[Path, Parameter(help="TOML file of settings, for example configs/tiny.toml")]
Overrides = Annotated[str, Parameter(help="Any setting, for example --batch_size 32.")]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")]


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    if _in_main_thread():
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        result = app(arguments, exit_on_error=False, print_error=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else GOOD
    except CycloptsError as error:
        return _complain(str(error))
    except SynthenticityError as error:
        return _complain(str(error))
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return GOOD
        return _complain(f"{error.filename or 'a file'}: {error.strerror or error}.")
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        return INTERRUPTED


def _in_main_thread() -> bool:
    """Whether signals can be handled here."""
    import threading

    return threading.current_thread() is threading.main_thread()


def _interrupt(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def _complain(message: str) -> int:
    for line in message.splitlines():
        print(f"synthenticity: {line}", file=sys.stderr)
    return USER_ERROR


def _console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    class Pipe(Console):
        """A console that leaves a broken pipe to `run`, which ends well."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Pipe(stderr=stderr, highlight=False, soft_wrap=True)


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Within, only our own messages and warnings reach the terminal."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    yield


def _share_processors() -> None:
    """Let threads that wait for each other sleep: provider and trainer run side by side.

    Spinning, as OpenMP does by default, saves 15 % of a step on an idle machine, and makes it six
    times as long beside another process (docs/benchmarks.md). To be called before torch is
    imported; a policy set in the environment stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _load(path: Path | None, overrides: dict[str, str]) -> "Config":
    from synthenticity.config_file import load_config

    return load_config(path, overrides)


@app.command
def prepare(
    config: ConfigPath,
    *,
    files: Annotated[int | None, Parameter(help="Make a finite set of N files a split.")] = None,
    out_dir: Annotated[Path | None, Parameter(help="Directory; default: data_dir.")] = None,
    splits: Annotated[str, Parameter(help="Splits of a finite set.")] = "train,val",
    as_child: Annotated[bool, Parameter(show=False, negative="")] = False,
    as_json: Json = False,
    **overrides: Overrides,
) -> int:
    """Make training data: endlessly, bounded by the backlog, or N files of each split."""
    _share_processors()
    from synthenticity.terminal import PrepareView

    settings = _load(config, overrides)
    console = _console(stderr=True)
    from synthenticity.providers.prepare import prepare as run_prepare
    from synthenticity.providers.process import set_when_parent_ends

    def show(summary: dict[str, Any]) -> None:
        if as_json:
            print(json.dumps(summary))
        else:
            title = f"prepared in {out_dir or settings.data_dir}"
            _console().print(PrepareView.summary_table(title, summary))

    summaries: list[dict[str, Any]] = []
    try:
        with _quiet_libraries(), PrepareView(console) as view:
            run_prepare(
                settings,
                out_dir,
                files=files,
                splits=[name.strip() for name in splits.split(",")],
                on_progress=view.update,
                on_end=summaries.append,
                stop=set_when_parent_ends() if as_child else None,
                take_turns=as_child,
            )
    finally:  # also when interrupted, and after the live view has left the terminal
        for summary in summaries:
            show(summary)
    return GOOD


@app.command
def train(
    config: ConfigPath,
    *,
    out_dir: Annotated[Path | None, Parameter(help="Default: runs/NAME-OF-CONFIG.")] = None,
    prepare: Annotated[bool, Parameter(negative="", help="Start a provider, too.")] = False,
    as_json: Json = False,
    **overrides: Overrides,
) -> int:
    """Train what the config's model_mode says; the same command continues an interrupted run."""
    _share_processors()
    from contextlib import nullcontext

    from synthenticity.terminal import TrainView

    settings = _load(config, overrides)
    folder = out_dir or Path("runs") / config.stem
    console = _console(stderr=True)
    with _quiet_libraries(), TrainView(console) as view:
        from synthenticity.providers.process import provider_running
        from synthenticity.training.train import train as run_train

        provider = provider_running(settings) if prepare else nullcontext(lambda: False)
        with provider as raise_if_provider_failed:
            result = run_train(
                settings,
                folder,
                on_progress=view.update,
                on_message=view.message,
                while_waiting=raise_if_provider_failed,
            )
    if as_json:
        print(json.dumps({"out_dir": str(folder), "steps": result.steps, **result.metrics}))
    else:
        _console().print(view.result_table(result))
    return GOOD


@app.command
def score(
    run: Annotated[Path, Parameter(help="The --out_dir of a sequence_scorer run.")],
    file: Annotated[
        str, Parameter(help="UTF-8 text file; - reads standard input.", allow_leading_hyphen=True)
    ] = "-",
    *,
    as_json: Json = False,
) -> int:
    """Say how much of a text a machine wrote, and colour the tokens."""
    from synthenticity.text.corpus import read_text

    text = _read_stdin() if file == "-" else read_text(Path(file))
    if not text:
        raise CorpusError(f"{'standard input' if file == '-' else file}: is empty.")
    with _quiet_libraries():
        from synthenticity.scoring.scorer import Scorer

        result = Scorer.from_pretrained(run).score(text)
    if as_json:
        print(json.dumps(result.to_json()))
        return GOOD
    from synthenticity.display import heat_legend, heat_text

    console = _console()
    console.print(heat_text(result.text, result.offsets, result.probabilities))
    console.print()
    console.print(
        f"synthenticity [bold]{result.synthenticity:.3f}[/bold]: about "
        f"{result.synthenticity:.0%} of {len(result.offsets)} tokens look machine-written"
    )
    if result.probabilities is not None:
        console.print(heat_legend())
    if result.unknown_share > 0:
        console.print(f"{result.unknown_share:.1%} of the tokens are unknown to the scorer")
    return GOOD


def _read_stdin() -> str:
    data = sys.stdin.buffer.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"standard input: byte 0x{data[error.start]:02x} at offset {error.start} is not UTF-8."
        ) from None


@app.command
def inspect(
    directory: Annotated[Path, Parameter(help="A directory of batch files.")],
    *,
    count: Annotated[int, Parameter(help="Samples to show.")] = 3,
    split: Annotated[str, Parameter(help="train, val or test.")] = "val",
    seed: Annotated[int, Parameter(help="Chooses the samples.")] = 0,
    as_json: Json = False,
) -> int:
    """Show samples before training: original and filled text, coloured by label, and figures."""
    with _quiet_libraries():
        from synthenticity.inspection import inspect_directory

        found = inspect_directory(directory, count=count, split=split, seed=seed)
    if as_json:
        samples = [vars(sample) for sample in found.samples]
        print(json.dumps({"samples": samples, "statistics": found.statistics}))
        return GOOD
    from synthenticity.terminal import print_inspection

    print_inspection(_console(), found)
    return GOOD


@app.command
def validate(
    target: Annotated[Path, Parameter(help="A config file, or a directory of batch files.")],
    *,
    as_json: Json = False,
    **overrides: Overrides,
) -> int:
    """Check that the model fills, the targets are true, the files are whole and training learns."""
    with _quiet_libraries():
        from synthenticity.validation import validate as run_validate

        if target.is_dir() and overrides:
            raise ConfigError(
                f"--{next(iter(overrides))}: a directory is checked with the settings it was made "
                "with. Give options with a config file only."
            )
        settings = None if target.is_dir() else _load(target, overrides)
        checks = run_validate(target, settings)
    if as_json:
        print(json.dumps([vars(check) for check in checks]))
    else:
        for check in checks:
            mark = "[green]ok  [/green]" if check.passed else "[red]FAIL[/red]"
            _console().print(f"{mark} {check.name}: {check.detail}")
    return GOOD if all(check.passed for check in checks) else CHECK_FAILED


@app.command
def demo(
    *,
    out: Annotated[Path, Parameter(help="Where everything is written.")] = Path("demo"),
    budget: Annotated[Literal["fast", "full"], Parameter(help="How long to train.")] = "fast",
    as_json: Json = False,
) -> int:
    """Do everything once on Shakespeare's plays: MLM, data, scorer, report. No download, CPU."""
    from synthenticity.terminal import DemoView

    console = _console(stderr=True)
    with _quiet_libraries(), DemoView(console) as view:
        from synthenticity.demo import run_demo

        results = run_demo(out, budget=budget, view=view)
    if as_json:
        print(json.dumps(results))
    else:
        view.print_results(_console(), results, out)
    return GOOD
