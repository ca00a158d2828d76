"""The commands that take a scorer elsewhere: export."""

import json
from pathlib import Path
from typing import Annotated, Literal

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
