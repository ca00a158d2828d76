"""The commands that look at data: inspect, validate, status."""

import json
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from synthenticity.cli.app import (
    CHECK_FAILED,
    GOOD,
    Json,
    Overrides,
    app,
    console_for,
    load_settings,
    quiet_libraries,
)
from synthenticity.errors import ConfigError

WATCH_SECONDS = 2.0


@app.command
def inspect(
    directory: Annotated[str, Parameter(help="A directory of batch files, or URL of a set.")],
    *,
    count: Annotated[int, Parameter(help="Samples to show.")] = 3,
    split: Annotated[str, Parameter(help="train, val or test.")] = "val",
    seed: Annotated[int, Parameter(help="Chooses the samples.")] = 0,
    as_json: Json = False,
) -> int:
    """Show samples before training: original and filled text, coloured by label, and figures."""
    with quiet_libraries():
        from synthenticity.inspection import inspect_directory

        found = inspect_directory(directory, count=count, split=split, seed=seed)
    if as_json:
        samples = [vars(sample) for sample in found.samples]
        print(json.dumps({"samples": samples, "statistics": found.statistics}))
        return GOOD
    from synthenticity.samples import print_inspection

    print_inspection(console_for(), found)
    return GOOD


@app.command
def validate(
    target: Annotated[
        str, Parameter(help="A config file, a directory of batch files, or URL of a set.")
    ],
    *,
    remake: Annotated[
        int, Parameter(help="Make N files of a directory again and compare them, byte for byte.")
    ] = 0,
    seed: Annotated[int | None, Parameter(help="Chooses the files of --remake.")] = None,
    repair: Annotated[
        bool,
        Parameter(negative="", help="Remove leftovers, and quarantine damaged files, first."),
    ] = False,
    as_json: Json = False,
    **overrides: Overrides,
) -> int:
    """Check that the model fills, the targets are true, the files are whole and training learns."""
    with quiet_libraries():
        from synthenticity.stream.object_store import is_url
        from synthenticity.validation import validate as run_validate

        if seed is not None and not remake:
            overrides["seed"] = str(seed)  # the config's
        is_data = is_url(target) or Path(target).is_dir()
        if is_data and overrides:
            raise ConfigError(
                f"--{next(iter(overrides))}: a directory is checked with the settings it was made "
                "with. Give options with a config file only."
            )
        of_files = remake or repair or is_data
        checks = run_validate(
            target,
            None if of_files else load_settings(Path(target), overrides),
            remake=remake,
            seed=seed or 0,
            repair=repair,
        )
    if as_json:
        print(json.dumps([vars(check) for check in checks]))
    else:
        console = console_for()
        for check in checks:
            console.print("[green]ok  [/green]" if check.passed else "[red]FAIL[/red]", end=" ")
            console.print(f"{check.name}: {check.detail}", markup=False)
    return GOOD if all(check.passed for check in checks) else CHECK_FAILED


@app.command
def status(
    directory: Annotated[str, Parameter(help="A directory of batch files, or URL of a set.")],
    *,
    watch: Annotated[
        bool, Parameter(negative="", help="Look again every two seconds, until Ctrl-C.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Show who provides for a directory, what waits in it, and who waits for whom."""
    from synthenticity.queue_view import StatusView
    from synthenticity.stream.status import queue_status

    view = StatusView(console_for())

    def look() -> None:
        now = queue_status(directory)
        if as_json:
            print(json.dumps(now.to_json()), flush=True)
        else:
            view.update(now, stays=not watch)

    look()
    with view if watch and not as_json else nullcontext():
        while watch:
            time.sleep(WATCH_SECONDS)
            look()
    return GOOD
