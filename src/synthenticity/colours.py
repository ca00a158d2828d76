"""Which colours stand for a probability or a label, on consoles of many, few and no colours.

Every style brings its own ink (contrast 4.5 or more), for nobody knows what a terminal shows text
on. So a scale cannot go from pale to deep, as on paper: what is pale on white is glaring on black.
Here all steps are about as light, halfway between white and black, and grow in colour: from grey
over ochre to red, each farther from any background than the one before. Of 16 colours a person's
theme decides, so two steps are all that can be promised. Where there are none, marks stand in.
"""

from rich.console import Console

from synthenticity.scoring.score import MACHINE

TRUE, MANY = "truecolor", "256"
"""What rich calls consoles of 16 million and of 256 colours."""
Steps = tuple[tuple[float, str], ...]
_HEAT: dict[str, Steps] = {
    TRUE: (
        (1 / 6, "#ffffff on #81725e"),
        (1 / 3, "#ffffff on #9a6a3f"),
        (MACHINE, "underline #ffffff on #b65b25"),
        (2 / 3, "underline #ffffff on #d14319"),
        (5 / 6, "underline #ffffff on #eb0000"),
    ),
    MANY: (
        (0.25, "#ffffff on #767676"),
        (MACHINE, "underline #ffffff on #af5f00"),
        (0.75, "underline #ffffff on #d70000"),
    ),
}
_FEW: Steps = ((1 / 3, "black on yellow"), (MACHINE, "underline bright_white on red"))
_LABELS = {
    1: "#000000 on #87af5f",
    2: "underline #000000 on #ff8787",
    3: "#000000 on #87afff",
}
_FEW_LABELS = {1: "black on green", 2: "underline bright_white on red", 3: "bright_white on blue"}
LABEL_MARKS = {1: ("((", "))"), 2: ("[[", "]]"), 3: ("{{", "}}")}
"""What stands around restored, replaced and random tokens without colours."""
LIKELY_MARKS = ("[[", "]]")
"""What stands around tokens that are likelier a machine's than not."""


def colours_of(console: Console) -> str | None:
    """Return which colours a console has, as rich calls them; None: marks have to stand in."""
    return None if console.no_color else console.color_system


def heat_steps(colours: str | None) -> Steps:
    """Return from which probabilities on which styles are worn, on a console with such colours."""
    return () if colours is None else _HEAT.get(colours, _FEW)


def heat_style(probability: float, colours: str | None) -> str:
    """Return the style of a token of that probability, "" for the lowest.

    >>> heat_style(0.1, "standard"), heat_style(0.4, "standard"), heat_style(1.0, "standard")
    ('', 'black on yellow', 'underline bright_white on red')
    """
    worn = [style for least, style in heat_steps(colours) if probability >= least]
    return worn[-1] if worn else ""


def label_style(label: int, colours: str | None) -> str:
    """Return the style of a token of that label; what is not counted is dim.

    >>> label_style(0, "standard"), label_style(1, "standard"), label_style(-100, "standard")
    ('', 'black on green', 'dim')
    """
    if label < 0:
        return "dim"
    styles = _LABELS if colours in (TRUE, MANY) else _FEW_LABELS
    return "" if colours is None else styles.get(label, "")
