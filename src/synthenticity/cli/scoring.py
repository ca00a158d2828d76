"""The commands that use a scorer: score, calibrate."""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from synthenticity.cli.app import (
    GOOD,
    Json,
    Overrides,
    app,
    console_for,
    load_settings,
    quiet_libraries,
)
from synthenticity.errors import CorpusError


@app.command
def score(
    run: Annotated[Path, Parameter(help="The --out_dir of a sequence_scorer run.")],
    file: Annotated[
        str, Parameter(help="UTF-8 text file; - reads standard input.", allow_leading_hyphen=True)
    ] = "-",
    *,
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Parameter(help="Arithmetic; auto is float32. bfloat16 is faster, and less exact."),
    ] = "auto",
    as_json: Json = False,
) -> int:
    """Say how much of a text a machine wrote, and colour the tokens."""
    from synthenticity.text.files import read_text

    text = _read_stdin() if file == "-" else read_text(Path(file))
    if not text:
        raise CorpusError(f"{'standard input' if file == '-' else file}: is empty.")
    with quiet_libraries():
        from synthenticity.scoring.scorer import Scorer

        result = Scorer.from_pretrained(run, dtype=dtype).score(text)
    if as_json:
        print(json.dumps(result.to_json()))
        return GOOD
    from synthenticity.display import heat_legend, heat_text

    console = console_for()
    console.print(heat_text(result.text, result.offsets, result.probabilities))
    console.print()
    low, high = result.interval
    console.print(
        f"synthenticity [bold]{result.synthenticity:.3f}[/bold] (90 %: {low:.2f} to {high:.2f}): "
        f"about {result.synthenticity:.0%} of {len(result.offsets)} tokens look machine-written"
    )
    for rate, rings in result.alarms.items():
        side = "above" if rings else "not above"
        console.print(f"{side} what {float(rate):.3g} of the human texts exceed (calibrated)")
    if result.probabilities is not None:
        console.print(heat_legend())
    if result.abstained is not None:
        console.print(f"[bold]abstained[/bold]: {result.abstained}")
    elif result.unknown_share > 0:
        console.print(f"{result.unknown_share:.1%} of the tokens are unknown to the scorer")
    return GOOD


@app.command
def calibrate(
    run: Annotated[Path, Parameter(help="The --out_dir of a sequence_scorer run.")],
    *,
    human: Annotated[
        str, Parameter(help="Texts of yours that people wrote: file, folder, glob or data set.")
    ],
    filled: Annotated[
        Path | None,
        Parameter(help="Data set made of such texts by prepare, for a map of the scores."),
    ] = None,
    split: Annotated[
        Literal["train", "val", "test"], Parameter(help="Split of --filled to use.")
    ] = "val",
    fpr: Annotated[
        list[float] | None,
        Parameter(
            help="Share of human texts that may be above the threshold: 0.01, or several.",
            consume_multiple=True,
        ),
    ] = None,
    map_kind: Annotated[
        Literal["auto", "isotonic", "affine"],
        Parameter(name="--map", help="auto: isotonic from 1,000 sequences on, else affine."),
    ] = "auto",
    as_json: Json = False,
    **overrides: Overrides,
) -> int:
    """Fit thresholds, and a map of the scores, to your own text; score reports them."""
    settings = load_settings(None, {**overrides, "corpus": human})
    with quiet_libraries():
        from synthenticity.evaluation.calibrate import calibrate as run_calibrate

        made = run_calibrate(
            run,
            settings,
            rates=tuple(fpr or (0.01,)),
            filled=filled,
            split=split,
            kind=map_kind,
            device=settings.device,
        )
    found = {"thresholds": dict(made.thresholds), "margin": made.margin, **made.about}
    if as_json:
        print(json.dumps(found))
        return GOOD
    from synthenticity.display import calibration_lines

    console = console_for()
    for line in calibration_lines(made, run):
        console.print(line, markup=False)
    return GOOD


def _read_stdin() -> str:
    data = sys.stdin.buffer.read()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"standard input: byte 0x{data[error.start]:02x} at offset {error.start} is not UTF-8."
        ) from None
