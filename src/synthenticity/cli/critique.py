"""The command that lets a scorer and a filling model improve a draft: critique."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from synthenticity.cli.app import GOOD, Json, app, console_for, quiet_libraries
from synthenticity.errors import ConfigError, CorpusError

if TYPE_CHECKING:
    from rich.table import Table

    from synthenticity.scoring.refinement import Refinement, Round

NO_EVIDENCE = (
    "It was rewritten until this scorer liked it: no score of this scorer is evidence of who wrote "
    "it any more."
)

SHOWN_AS_NOTHING = 0.005
"""An interval that begins below is shown to begin at 0.00."""
MAYBE_HUMAN = (
    "The draft may be all human (its interval begins at 0.00): what was remasked need not have "
    "been wrong."
)


@app.command
def critique(
    run: Annotated[Path, Parameter(help="The --out_dir of a sequence_scorer run: the critic.")],
    text: Annotated[
        str,
        Parameter(
            help="UTF-8 text file, the draft; - reads standard input.", allow_leading_hyphen=True
        ),
    ] = "-",
    *,
    mlm: Annotated[str, Parameter(help="The filling model: folder, or id of the hub.")],
    rounds: Annotated[int, Parameter(help="How often tokens are remasked and filled again.")] = 8,
    share: Annotated[float, Parameter(help="Of the tokens, remasked in the first round.")] = 0.1,
    fall: Annotated[
        Literal["cosine", "linear"], Parameter(help="How that share falls from round to round.")
    ] = "cosine",
    temperature: Annotated[
        float,
        Parameter(help="Noise in the choice, fading; 0: always the most machine-like tokens."),
    ] = 0.0,
    fill_temperature: Annotated[
        float, Parameter(help="Of the filling; 0 writes the likeliest token.")
    ] = 1.0,
    control: Annotated[
        bool, Parameter(negative="", help="Remask random tokens instead, for comparison.")
    ] = False,
    keep: Annotated[
        Literal["best", "last"],
        Parameter(
            help="The text of which round: of the lowest score that is none of which the scorer "
            "abstains, the draft's too, or the last."
        ),
    ] = "best",
    seed: Annotated[int, Parameter(help="Of all chance; the same seed gives the same text.")] = 0,
    device: Annotated[
        str, Parameter(help="Of both models: auto, cpu, cuda, cuda:1, mps.")
    ] = "auto",
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Parameter(help="Arithmetic of both; auto: the scorer's float32, the other's its fastest."),
    ] = "auto",
    plain: Annotated[
        bool, Parameter(negative="", help="Print the text alone; the table goes to standard error.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Remask what the scorer finds most machine-like, fill it again, round by round."""
    if plain and as_json:
        raise ConfigError("--plain and --json: are two forms of the result. Give one.")
    draft = _read_draft(text)
    settings: dict[str, Any] = {
        "rounds": rounds,
        "share": share,
        "fall": fall,
        "temperature": temperature,
    }
    with quiet_libraries(), console_for(stderr=True).status("loading models") as status:
        from synthenticity.recipe import Recipe
        from synthenticity.scoring.critic import TokenCritic, check_settings
        from synthenticity.seeding import numpy_rng
        from synthenticity.synthesis.filling_model import load_filling_model

        recipe = Recipe(temperature=fill_temperature)
        check_settings(recipe, settings)  # before any model loads
        lots = numpy_rng(seed, "critique", 0, "control")
        how: dict[str, Any] = {"device": device, "dtype": dtype}
        refined = TokenCritic.from_pretrained(run, **how).refine(
            draft,
            load_filling_model(mlm, **how),
            rng=numpy_rng(seed, "critique", 0, "rounds"),
            recipe=recipe,
            judge=(lambda ids: lots.random(ids.shape)) if control else None,
            on_round=lambda number, value: status.update(
                f"round {number} of {rounds}: synthenticity {value:.3f}"
            ),
            **settings,
        )
    kept = refined.best if keep == "best" else refined.last
    if as_json:
        chosen = settings | {"fill_temperature": fill_temperature, "control": control, "seed": seed}
        print(json.dumps(_to_json(refined, kept) | {"settings": chosen}))
    else:
        _show(refined, kept, plain=plain)
    return GOOD


def _read_draft(place: str) -> str:
    from synthenticity.text.files import CorpusFile, decoded, read_blocks

    file = CorpusFile(Path(place), place, "text")
    text = "".join(decoded(read_blocks(file), file))
    if not text.strip():
        blank = ", but for white space" if text else ""
        raise CorpusError(f"{file}: is empty{blank}. Give a text to improve.")
    return text


def _to_json(refined: "Refinement", kept: "Round") -> dict[str, Any]:
    return {
        "rounds": [each.to_json() for each in refined.rounds],
        "kept": kept.number,
        "text": kept.text,
        **{key: kept.score.to_json()[key] for key in ("tokens", "spans")},
    }


def _show(refined: "Refinement", kept: "Round", *, plain: bool) -> None:
    """Print the rounds and the text that is kept, as people read them."""
    from synthenticity.colours import colours_of
    from synthenticity.display import heat_legend, heat_text

    if plain:
        console_for(stderr=True).print(_table(refined, kept))
        sys.stdout.write(kept.text)
        return
    console = console_for()
    colours, score = colours_of(console), kept.score
    console.print(_table(refined, kept))
    console.print()
    console.print(heat_text(kept.text, score.offsets, score.probabilities, colours))
    console.print()
    console.print(heat_legend(colours))
    first, now = refined.rounds[0].score.synthenticity, kept.score.synthenticity
    console.print(f"kept: {_which(refined, kept)}; synthenticity {first:.3f} -> [bold]{now:.3f}")
    draft = refined.rounds[0].score
    for reason in dict.fromkeys((draft.abstained, score.abstained)):
        if reason is not None:
            console.print("[bold]abstained[/bold]:", reason)
    if draft.abstained is None and draft.interval[0] < SHOWN_AS_NOTHING:
        console.print(MAYBE_HUMAN)
    if kept.number:
        console.print(NO_EVIDENCE)


def _which(refined: "Refinement", kept: "Round") -> str:
    if kept.number:
        return f"after round {kept.number}"
    known = any(each.score.abstained is None for each in refined.rounds)
    why = "no round lowered its score" if known else "the scorer abstains of every round"
    return f"the draft: {why}"


def _table(refined: "Refinement", kept: "Round") -> "Table":
    """Return a line for each round."""
    from rich.table import Table

    table = Table(title="critique", title_justify="left")
    for name in ("round", "remasked", "changed", "synthenticity", "90 % interval", ""):
        table.add_column(name, justify="right" if name else "left")
    for each in refined.rounds:
        low, high = each.score.interval
        table.add_row(
            str(each.number) if each.number else "draft",
            f"{each.remasked:,}" if each.number else "",
            f"{each.changed:,}" if each.number else "",
            f"{each.score.synthenticity:.3f}",
            f"{low:.2f} to {high:.2f}",
            "kept" if each is kept else "",
        )
    return table
