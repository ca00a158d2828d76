"""The commands that train: train, demo."""

import json
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from synthenticity.cli.app import (
    GOOD,
    ConfigPath,
    Json,
    Overrides,
    app,
    console_for,
    load_settings,
    quiet_libraries,
    share_processors,
)
from synthenticity.errors import ConfigError

TRACED_STEPS = 20


@app.command
def train(
    config: ConfigPath,
    *,
    out_dir: Annotated[Path | None, Parameter(help="Default: runs/NAME-OF-CONFIG.")] = None,
    prepare: Annotated[bool, Parameter(negative="", help="Start a provider, too.")] = False,
    profile: Annotated[
        list[int] | None,
        Parameter(
            negative="",
            consume_multiple=(0, 1),
            help="Say where the time goes, and trace so many iterations (20) into OUT_DIR/profile.",
        ),
    ] = None,
    as_json: Json = False,
    **overrides: Overrides,
) -> int:
    """Train what the config's model_mode says; the same command continues an interrupted run."""
    share_processors()
    from contextlib import nullcontext

    from synthenticity.terminal import TrainView

    settings = load_settings(config, overrides)
    folder = out_dir or Path("runs") / config.stem
    console = console_for(stderr=True)
    with quiet_libraries(), TrainView(console) as view:
        from synthenticity.providers.process import provider_running
        from synthenticity.training.ranks import Ranks
        from synthenticity.training.train import train as run_train

        first = Ranks().first
        provides = prepare and first
        provider = provider_running(settings) if provides else nullcontext(lambda: False)
        with provider as raise_if_provider_failed:
            result = run_train(
                settings,
                folder,
                on_progress=view.update,
                on_message=view.message,
                while_waiting=raise_if_provider_failed,
                profile_steps=None if profile is None else _traced_steps(profile),
            )
    if not first:
        return GOOD
    if as_json:
        print(json.dumps({"out_dir": str(folder), "steps": result.steps, **result.metrics}))
    else:
        console_for().print(view.result_table(result))
    return GOOD


def _traced_steps(given: list[int]) -> int:
    steps = given[0] if given else TRACED_STEPS
    if steps < 1:
        raise ConfigError(f"--profile: {steps} is no number of iterations. Give at least 1.")
    return steps


@app.command
def demo(
    *,
    out: Annotated[Path, Parameter(help="Where everything is written.")] = Path("demo"),
    budget: Annotated[Literal["fast", "full"], Parameter(help="How long to train.")] = "fast",
    as_json: Json = False,
) -> int:
    """Do everything once on Shakespeare's plays: MLM, data, scorer, report. No download, CPU."""
    share_processors()
    from synthenticity.terminal import DemoView

    console = console_for(stderr=True)
    with quiet_libraries(), DemoView(console) as view:
        from synthenticity.demo import run_demo

        results = run_demo(out, budget=budget, view=view)
    if as_json:
        print(json.dumps(results))
    else:
        view.print_results(console_for(), results, out)
    return GOOD
