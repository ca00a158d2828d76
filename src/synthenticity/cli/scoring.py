"""The commands that use a scorer: score, calibrate."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from synthenticity.cli.app import (
    GOOD,
    Json,
    OnRay,
    Overrides,
    app,
    cluster_of,
    console_for,
    load_settings,
    quiet_libraries,
)
from synthenticity.errors import ConfigError, CorpusError


@app.command
def score(
    run: Annotated[Path, Parameter(help="The --out_dir of a sequence_scorer run.")],
    source: Annotated[
        str,
        Parameter(
            name="IN",
            help="A text file, - for standard input; with --out any corpus: folder, glob, CSV, "
            "JSON lines, Parquet, Hugging Face data set.",
            allow_leading_hyphen=True,
        ),
    ] = "-",
    *,
    out: Annotated[
        Path | None, Parameter(help="A .parquet, .jsonl or .csv file: a row for each document.")
    ] = None,
    html: Annotated[
        Path | None,
        Parameter(help="Heat maps: a page.html of a text, with --out a folder with a gallery."),
    ] = None,
    tokens: Annotated[
        bool, Parameter(negative="", help="Rows of --out hold text, tokens, spans, sentences, too.")
    ] = False,
    text_column: Annotated[
        str, Parameter(help="Of --out: the column of a table's texts.")
    ] = "text",
    id_column: Annotated[str | None, Parameter(help="Of --out: the column of their names.")] = None,
    document_per: Annotated[
        Literal["file", "line", "paragraph"],
        Parameter(help="Of --out: what is a document of a text file."),
    ] = "file",
    min_tokens: Annotated[
        int | None, Parameter(help="Of fewer the scorer abstains. Default: an eighth of a window.")
    ] = None,
    batch_size: Annotated[int | None, Parameter(help="Full windows of a model call.")] = None,
    device: Annotated[str, Parameter(help="That scores: auto, cpu, cuda, cuda:1, mps.")] = "auto",
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Parameter(help="Arithmetic; auto is float32. bfloat16 is faster, and less exact."),
    ] = "auto",
    on_ray: OnRay | None = None,
    plain: Annotated[
        bool,
        Parameter(
            negative="",
            help="No coloured text, nothing redrawn, as into a file.",
        ),
    ] = False,
    as_json: Json = False,
) -> int:
    """Say how much of a text a machine wrote, and which words; of one, or of any number."""
    how: dict[str, Any] = {"device": device, "dtype": dtype, "min_tokens": min_tokens}
    cluster = cluster_of(on_ray)
    if out is None:
        only = {
            "--tokens": tokens,
            "--id_column": id_column is not None,
            "--text_column": text_column != "text",
            "--document_per": document_per != "file",
            "--batch_size": batch_size is not None,
            "--ray": cluster is not None,
        }
        for name in (name for name, given in only.items() if given):
            raise ConfigError(
                f"{name}: has no effect on one text. Leave it out, or give --out OUT, too."
            )
        return _score_one(run, source, how, html=html, plain=plain, as_json=as_json)
    from synthenticity.text.reading import CorpusSource

    corpus = CorpusSource(
        source=source, text_column=text_column, id_column=id_column, document_per=document_per
    )
    console = console_for(stderr=True, plain=plain)
    with quiet_libraries():
        from synthenticity.records.scores import score_corpus
        from synthenticity.terminal import ScoreView

        with ScoreView(console) as view:
            result = score_corpus(
                run,
                corpus,
                out,
                tokens=tokens,
                pages=html,
                batch_size=batch_size,
                cluster=cluster,
                on_progress=view.update,
                **how,
            )
    if as_json:
        print(json.dumps(ScoreView.summary(result)))
    else:
        console_for(plain=plain).print(ScoreView.result_table(result))
    return GOOD


def _is_table(path: Path) -> bool:
    from synthenticity.text.files import find_files

    return path.is_file() and find_files(str(path))[0].format != "text"


def _score_one(
    run: Path, source: str, how: dict[str, Any], *, html: Path | None, plain: bool, as_json: bool
) -> int:
    """Score one text and show it."""
    from synthenticity.text.files import read_text

    if source != "-" and (Path(source).is_dir() or _is_table(Path(source))):
        kind = "folder" if Path(source).is_dir() else "table"
        raise ConfigError(f"{source}: is a {kind}. Give --out OUT to score all documents in it.")
    if html is not None and (html.exists() or not html.resolve().parent.is_dir()):
        why = "exists. Give another name, or remove it." if html.exists() else "has no folder."
        raise ConfigError(f"html: {html} {why}")
    text = _read_stdin() if source == "-" else read_text(Path(source))
    name = "standard input" if source == "-" else source
    if not text.strip():
        raise CorpusError(f"{name}: is empty{', but for white space' if text else ''}.")
    with quiet_libraries():
        from synthenticity.scoring.scorer import Scorer
        from synthenticity.terminal import TextView

        scorer = Scorer.from_pretrained(run, **how)
        with TextView(console_for(stderr=True, plain=plain)) as view:
            result = scorer.score(text, on_share=view.update)
    if html is not None:
        from synthenticity.records.pages import write_page

        write_page(html, name, result)
    if as_json:
        sys.stdout.writelines(result.iter_json())
        print()
        return GOOD
    from synthenticity.colours import colours_of
    from synthenticity.display import score_lines

    console = console_for(plain=plain)
    heat = console.color_system is not None
    for line in score_lines(result, heat=heat, colours=colours_of(console)):
        console.print(line)
    if result.abstained is None and scorer.calibration is None:
        console_for(stderr=True, plain=plain).print(
            "no verdict: this scorer is not calibrated. How many human texts score as high says "
            f"synthenticity calibrate {shlex.quote(str(run))} --human YOUR_TEXTS",
            markup=False,
        )
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
            help="Share of human texts that may be above the threshold, or several. Default: 0.01.",
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
        from synthenticity.scoring.calibration import CALIBRATION_FILE

        replaces = (run / CALIBRATION_FILE).exists()
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
    for line in calibration_lines(made, run, replaces=replaces):
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
