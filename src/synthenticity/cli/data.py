"""The commands that make data: prepare, fill."""

import json
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from synthenticity.cli.app import (
    GOOD,
    ConfigPath,
    Json,
    OnRay,
    Overrides,
    app,
    cluster_of,
    console_for,
    load_settings,
    quiet_libraries,
    read_ratio,
    share_processors,
)
from synthenticity.errors import ConfigError


@app.command
def prepare(
    config: ConfigPath,
    *,
    files: Annotated[int | None, Parameter(help="Make a finite set of N files a split.")] = None,
    samples: Annotated[
        int | None, Parameter(help="Or of N sequences a split, rounded up to whole files.")
    ] = None,
    out_dir: Annotated[
        str | None, Parameter(help="Directory, or URL of a finite set; default: data_dir.")
    ] = None,
    staging: Annotated[
        Path | None, Parameter(help="Where files lie until they are uploaded to a URL.")
    ] = None,
    licence: Annotated[
        str | None, Parameter(name="--license", help="Of the texts, for the data card.")
    ] = None,
    splits: Annotated[str, Parameter(help="Splits of a finite set.")] = "train,val",
    workers: Annotated[int, Parameter(help="Processes; 0 or 1: this one makes the files.")] = 0,
    devices: Annotated[
        str, Parameter(help="Of the workers, for example cuda:0,cuda:1; alone, one worker each.")
    ] = "",
    on_ray: OnRay | None = None,
    as_child: Annotated[bool, Parameter(show=False, negative="")] = False,
    as_json: Json = False,
    **overrides: Overrides,
) -> int:
    """Make training data: endlessly, bounded by the backlog, or N files of each split."""
    share_processors()
    from synthenticity.terminal import PrepareView

    settings = load_settings(config, overrides)
    cluster = cluster_of(on_ray)
    console = console_for(stderr=True)
    from synthenticity.providers.prepare import prepare as run_prepare
    from synthenticity.providers.process import set_when_parent_ends

    def show(summary: dict[str, Any]) -> None:
        if as_json:
            print(json.dumps(summary))
        else:
            title = f"prepared in {out_dir or settings.data_dir}"
            console_for().print(PrepareView.summary_table(title, summary))

    summaries: list[dict[str, Any]] = []
    try:
        with quiet_libraries(), PrepareView(console) as view:
            run_prepare(
                settings,
                out_dir,
                files=files,
                samples=samples,
                licence=licence,
                staging=staging,
                splits=[name.strip() for name in splits.split(",")],
                workers=workers,
                devices=[name.strip() for name in devices.split(",")] if devices else (),
                cluster=cluster,
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
def fill(
    source: Annotated[
        str | None,
        Parameter(name="IN", help="Texts: file, folder, glob or data set; - reads standard input."),
    ] = None,
    *,
    model: Annotated[str | None, Parameter(help="The filling model: folder or hub id.")] = None,
    out: Annotated[
        Path | None, Parameter(help="A .parquet or .jsonl file, or a folder to be.")
    ] = None,
    ratio: Annotated[
        str | None, Parameter(help="Share of the tokens to fill, or a range: 0.1,0.7.")
    ] = None,
    explore: Annotated[
        int | None, Parameter(help="Show N filled documents, coloured, and write nothing.")
    ] = None,
    copies: Annotated[int, Parameter(help="Records of each document.")] = 1,
    batch_size: Annotated[int, Parameter(help="Windows of a model call.")] = 64,
    workers: Annotated[int, Parameter(help="Processes.")] = 1,
    licence: Annotated[
        str | None, Parameter(name="--license", help="Of the texts, for the data card.")
    ] = None,
    config: Annotated[Path | None, Parameter(help="TOML file of settings.")] = None,
    on_ray: OnRay | None = None,
    as_json: Json = False,
    **overrides: Overrides,
) -> int:
    """Let a model rewrite parts of texts: a record of each, with its exact truth."""
    overrides = _fill_overrides(overrides, source, model, ratio)
    settings = load_settings(config, overrides)
    if config is None and "corpus" not in overrides:
        raise ConfigError("IN: no texts are given. Name a file or folder, or - for standard input.")
    if (out is None) == (explore is None):
        raise ConfigError("out: give either --out OUT to write records, or --explore N to look.")
    cluster = cluster_of(on_ray)
    if cluster is not None and (explore is not None or workers > 1):
        raise ConfigError("--ray: has no effect with --explore or --workers. Leave one out.")
    console = console_for(stderr=True)
    with quiet_libraries():
        from synthenticity.records.fill import explore as run_explore
        from synthenticity.records.run import fill_corpus
        from synthenticity.samples import print_filled
        from synthenticity.terminal import FillView

        if out is None:
            records = run_explore(settings, explore or 0, batch_size=batch_size)
            if as_json:
                print(json.dumps(records))
            else:
                print_filled(console_for(), records)
            return GOOD
        with FillView(console) as view:
            result = fill_corpus(
                settings,
                out,
                copies=copies,
                batch_size=batch_size,
                workers=workers,
                cluster=cluster,
                licence=licence,
                on_progress=view.update,
            )
    if as_json:
        print(json.dumps(FillView.summary(result)))
    else:
        console_for().print(FillView.result_table(result))
    return GOOD


def _fill_overrides(
    overrides: dict[str, str], source: str | None, model: str | None, ratio: str | None
) -> dict[str, str]:
    """Return the options of `fill` as the settings that they stand for."""
    named = {} if source is None else {"corpus": source}
    if model is not None:
        named["mlm_checkpoint_path"] = model
    if ratio is not None:
        low, high = read_ratio(ratio)
        named["mask_probability_range"] = f"{low},{high}"
    return {**overrides, **named}
