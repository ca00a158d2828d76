"""The commands that say how good a scorer can be: limit."""

import json
from typing import Annotated, Literal

from cyclopts import Parameter

from synthenticity.cli.app import GOOD, Json, app, console_for, quiet_libraries, read_ratio
from synthenticity.errors import ConfigError


@app.command
def limit(
    source: Annotated[
        Literal["markov", "switching"],
        Parameter(
            help="markov: a Markov chain whose masks it fills itself, perfectly. switching: two "
            "chains that take turns, the machine's being the human's at another temperature."
        ),
    ],
    *,
    corpus: Annotated[str, Parameter(help="Text whose neighbours make the chain.")] = "shakespeare",
    length: Annotated[int, Parameter(help="Characters of a text.")] = 256,
    ratio: Annotated[str, Parameter(help="Share that is filled, or a range.")] = "0.1,0.7",
    temperature: Annotated[float, Parameter(help="switching: of the machine.")] = 0.7,
    texts: Annotated[int, Parameter(help="Texts to measure on.")] = 400,
    seed: Annotated[int, Parameter(help="Draws them.")] = 0,
    as_json: Json = False,
) -> int:
    """Compute what the best possible scorer does on text whose source is known exactly."""
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
    if as_json:
        print(
            json.dumps({"source": found.source, "texts": texts, "length": length, **found.figures})
        )
        return GOOD
    from synthenticity.display import figures_table

    title = f"The limit: {texts} texts of {length} characters, {found.source}"
    console_for().print(figures_table(title, found.figures))
    return GOOD
