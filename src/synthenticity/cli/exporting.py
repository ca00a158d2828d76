"""The commands that take a scorer elsewhere: export, publish."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from synthenticity.cli.app import GOOD, Json, app, console_for, quiet_libraries
from synthenticity.errors import ConfigError


@app.command
def export(
    run: Annotated[Path, Parameter(help="The --out_dir of a sequence_scorer run.")],
    *,
    to: Annotated[
        Literal["token-classification", "sequence-classification", "onnx"],
        Parameter(help="A stock class of transformers, or ONNX."),
    ],
    out: Annotated[Path, Parameter(help="A new folder.")],
    int8: Annotated[
        bool, Parameter(negative="", help="onnx: in 8 bits, smaller and a little less exact.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Write a scorer in a form that needs nothing of this package."""
    if int8 and to != "onnx":
        raise ConfigError(f"--int8: is for --to onnx, not {to}. Leave it out.")
    with quiet_libraries():
        if to == "onnx":
            from synthenticity.scoring.onnx_export import export_onnx

            export_onnx(run, out, int8=int8)
        else:
            from synthenticity.scoring.stock_export import export_stock

            export_stock(run, to, out)
    sizes = {path.name: path.stat().st_size for path in sorted(out.iterdir())}
    if as_json:
        print(json.dumps({"out": str(out), "to": to, "files": sizes}))
        return GOOD
    console = console_for()
    for name, size in sizes.items():
        console.print(f"{size:>13,}  {out / name}", markup=False)
    console.print(f"how to run it: {out / 'README.md'}", markup=False)
    return GOOD


@app.command
def publish(
    run: Annotated[Path, Parameter(help="The --out_dir of a sequence_scorer run.")],
    *,
    repo: Annotated[str | None, Parameter(help="NAME or OWNER/NAME on the hub.")] = None,
    evaluation: Annotated[
        Path | None, Parameter(help="What evaluate --out wrote of the run: figures of the card.")
    ] = None,
    private: Annotated[bool, Parameter(negative="", help="Nobody else is to see it.")] = False,
    dry_run: Annotated[
        bool, Parameter(negative="", help="Show files and card, and upload nothing.")
    ] = False,
    card: Annotated[
        Path | None, Parameter(help="Write the card there, and upload nothing.")
    ] = None,
    licence: Annotated[
        str | None, Parameter(help="Of the weights, as the hub spells it (apache-2.0).")
    ] = None,
    as_json: Json = False,
) -> int:
    """Upload a scorer to the hub, with a card made of its evaluation."""
    if repo is None and card is None:
        raise ConfigError("--repo: is missing. Name the repository, or give --card FILE.")
    with quiet_libraries():
        from synthenticity.scoring import publishing

        if repo is not None:
            publishing.check_repo(repo)
        figures = None if evaluation is None else publishing.read_evaluation(evaluation)
        if card is not None or dry_run:
            name = repo or run.resolve().name
            with publishing.staged(run, name, figures, licence) as folder:
                return _show(folder, card, as_json)
        assert repo is not None
        place = publishing.push_to_hub(
            run, repo, evaluation=figures, private=private, licence=licence
        )
    print(json.dumps({"url": place}) if as_json else place)
    return GOOD


def _show(folder: Path, card: Path | None, as_json: bool) -> int:
    """Write the card, or show what would be uploaded."""
    from synthenticity.durable import write_whole
    from synthenticity.scoring.publishing import CARD_FILE

    text = (folder / CARD_FILE).read_text(encoding="utf-8")
    if card is not None:
        if card.is_dir() or not card.absolute().parent.is_dir():
            raise ConfigError(f"--card {card}: is no place for a file. Give another.")
        write_whole(card, text)
    sizes: dict[str, Any] = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    if as_json:
        print(json.dumps({"card": text, "files": sizes, "uploaded": False}))
    elif card is not None:
        print(card)
    else:
        for name, size in sizes.items():
            print(f"{size:>13,}  {name}")
        print(f"\n{text}\nNothing was uploaded.")
    return GOOD
