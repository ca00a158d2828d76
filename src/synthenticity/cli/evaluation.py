"""The commands that say how good a scorer is, and how good one can be: evaluate, limit."""

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from synthenticity.cli.app import (
    CHECK_FAILED,
    GOOD,
    Json,
    app,
    console_for,
    quiet_libraries,
    read_ratio,
)
from synthenticity.errors import ConfigError


@app.command
def evaluate(
    run: Annotated[Path, Parameter(help="The --out_dir of a sequence_scorer run.")],
    data: Annotated[
        list[str],
        Parameter(
            help="Data sets: first the one that it was trained on, then others to judge it by.",
            consume_multiple=True,
        ),
    ],
    *,
    seeds: Annotated[
        list[Path] | None,
        Parameter(help="Runs that differ from RUN in their seed alone.", consume_multiple=True),
    ] = None,
    mlm: Annotated[
        str | None, Parameter(help="A masked language model, for baselines of its likelihoods.")
    ] = None,
    out: Annotated[Path | None, Parameter(help="Write the result there, as JSON.")] = None,
    report: Annotated[
        Path | None, Parameter(help="Write a page with tables, plots and coloured text there.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Put a scorer beside honest baselines, on the test split of each data set.

    Where the limit of a data set is known, it is one more line. Exit code 1 if an alarm rings.
    """
    for place in (out, report):
        if place is not None and not place.absolute().parent.is_dir():
            raise ConfigError(
                f"{place}: its folder does not exist. Make it, or give another place."
            )
        if place is not None and place.is_dir():
            raise ConfigError(f"{place}: is a folder. Give the name of a file.")
    console = console_for(stderr=True)
    with quiet_libraries():
        from synthenticity.durable import write_whole
        from synthenticity.evaluation.evaluate import evaluate as run_evaluate
        from synthenticity.evaluation.plots import check_plots
        from synthenticity.evaluation.report import write_report
        from synthenticity.stream.places import place_of

        if report is not None:
            check_plots()
        evaluated = run_evaluate(
            [run, *(seeds or [])],
            [place_of(given) for given in data],
            mlm=mlm,
            on_message=lambda text: console.print(text, markup=False),
        )
        found = evaluated.to_json()
        if out is not None:
            write_whole(out, json.dumps(found, indent=1).encode())
        if report is not None:
            write_report(report, evaluated, commands=[shlex.join(["synthenticity", *sys.argv[1:]])])
    code = CHECK_FAILED if evaluated.rings else GOOD
    if as_json:
        print(json.dumps(found))
        return code
    from synthenticity.display import evaluation_tables, ringing_alarms

    printed = console_for()
    for row in found["rows"]:
        last = row is found["rows"][-1]
        for table in evaluation_tables(row, printed.width, explained=last):
            printed.print(table)
        printed.print(ringing_alarms(row), end="")
    return code


@app.command
def limit(
    source: Annotated[
        str,
        Parameter(
            help="markov: a Markov chain whose masks it fills itself, perfectly. switching: two "
            "chains that take turns, the machine's being the human's at another temperature. Or a "
            "directory of scorer data, whose test split is measured on."
        ),
    ],
    *,
    mlm: Annotated[
        str | None, Parameter(help="Of a directory: the model that filled it, for the genie.")
    ] = None,
    corpus: Annotated[str, Parameter(help="Text whose neighbours make the chain.")] = "shakespeare",
    length: Annotated[int, Parameter(help="Characters of a text.")] = 256,
    ratio: Annotated[str, Parameter(help="Share that is filled, or a range.")] = "0.1,0.7",
    temperature: Annotated[float, Parameter(help="switching: of the machine.")] = 0.7,
    texts: Annotated[int, Parameter(help="Texts to measure on.")] = 400,
    seed: Annotated[int, Parameter(help="Draws them.")] = 0,
    as_json: Json = False,
) -> int:
    """Compute what the best possible scorer does on text whose source is known exactly."""
    if source not in ("markov", "switching"):
        return _limit_of_data(source, mlm, as_json)
    ratios = read_ratio(ratio)
    for name, value in {"length": length, "texts": texts, "temperature": temperature}.items():
        if not value > 0:
            raise ConfigError(f"--{name}: {value} is not positive.")
    with quiet_libraries():
        from synthenticity.config import Config
        from synthenticity.evaluation.testbeds import Asked, markov_limit, switching_limit
        from synthenticity.providers.markov import chain_of
        from synthenticity.providers.pools import open_corpus
        from synthenticity.synthesis.markov_source import SwitchingSource

        _, chain = chain_of(open_corpus(Config(corpus=corpus)), block_size=length)
        asked = Asked(texts, length, ratios, seed)
        found = (
            markov_limit(chain, asked)
            if source == "markov"
            else switching_limit(SwitchingSource.cooled(chain, temperature), asked)
        )
    about = {"source": found.source, "texts": texts, "length": length}
    title = f"The limit: {texts} texts of {length} characters, {found.source}"
    return _show_limit(title, about, found.figures, as_json)


def _limit_of_data(directory: str, mlm: str | None, as_json: bool) -> int:
    console = console_for(stderr=True)
    with quiet_libraries():
        from synthenticity.evaluation.known_limits import limit_of_data
        from synthenticity.stream.places import place_of

        name, figures = limit_of_data(
            place_of(directory), mlm=mlm, on_message=lambda text: console.print(text, markup=False)
        )
    about = {"data": str(directory), "limit": name}
    return _show_limit(f"{directory}: {name}", about, figures, as_json)


def _show_limit(
    title: str, about: Mapping[str, Any], figures: Mapping[str, float], as_json: bool
) -> int:
    if as_json:
        print(json.dumps({**about, **figures}))
        return GOOD
    from synthenticity.display import figures_table

    console_for().print(figures_table(title, figures))
    return GOOD
