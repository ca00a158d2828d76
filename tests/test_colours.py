"""Colours are a scale: stronger with the probability on any background, and text stays readable."""

import itertools
import math

import pytest
from rich.color import Color, ColorSystem
from rich.style import Style

from synthenticity.colours import heat_steps, heat_style, label_style

BACKGROUNDS = ("#000000", "#1e1e1e", "#282c34", "#002b36", "#fdf6e3", "#ffffff")
"""What people have: black, three dark themes, Solarized light, white."""
SYSTEMS = {"truecolor": ColorSystem.TRUECOLOR, "256": ColorSystem.EIGHT_BIT}


def linear(colour: Color) -> list[float]:
    """Return the light of red, green and blue (sRGB)."""
    parts = [part / 255 for part in colour.get_truecolor()]
    return [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]


def contrast(one: Color, other: Color) -> float:
    """Return the contrast ratio of WCAG 2."""
    dark, light = sorted(
        0.2126 * red + 0.7152 * green + 0.0722 * blue
        for red, green, blue in map(linear, (one, other))
    )
    return (light + 0.05) / (dark + 0.05)


def oklab(colour: Color) -> list[float]:
    """Return a colour where distances are about as large as they look (Ottosson 2020)."""
    light = linear(colour)
    cones = [
        sum(weight * part for weight, part in zip(row, light, strict=True)) ** (1 / 3)
        for row in (
            (0.4122214708, 0.5363325363, 0.0514459929),
            (0.2119034982, 0.6806995451, 0.1073969566),
            (0.0883024619, 0.2817188376, 0.6299787005),
        )
    ]
    return [
        sum(weight * part for weight, part in zip(row, cones, strict=True))
        for row in (
            (0.2104542553, 0.7936177850, -0.0040720468),
            (1.9779984951, -2.4285922050, 0.4505937099),
            (0.0259040371, 0.7827717662, -0.8086757660),
        )
    ]


def seen(style: str, system: ColorSystem) -> tuple[Color, Color]:
    """Return ink and background as a console of that system shows them."""
    parsed = Style.parse(style)
    assert parsed.color is not None and parsed.bgcolor is not None
    return parsed.color.downgrade(system), parsed.bgcolor.downgrade(system)


@pytest.mark.parametrize("colours", SYSTEMS)
@pytest.mark.parametrize("background", BACKGROUNDS)
def test_each_step_is_farther_from_any_background_than_the_one_before(
    colours: str, background: str
) -> None:
    paper = oklab(Color.parse(background))
    patches = [oklab(seen(style, SYSTEMS[colours])[1]) for _, style in heat_steps(colours)]
    strengths = [math.dist(patch, paper) for patch in patches]
    assert len(strengths) >= 3 and strengths == sorted(set(strengths))
    chromas = [math.hypot(*patch[1:]) for patch in patches]
    assert all(after > before + 0.03 for before, after in itertools.pairwise(chromas))


@pytest.mark.parametrize("colours", SYSTEMS)
def test_text_on_every_patch_can_be_read(colours: str) -> None:
    styles = [style for _, style in heat_steps(colours)]
    styles += [label_style(label, colours) for label in (1, 2, 3)]
    for style in styles:
        assert contrast(*seen(style, SYSTEMS[colours])) >= 4.5, style


@pytest.mark.parametrize("colours", ["truecolor", "256", "standard", "windows"])
def test_a_step_is_worn_from_its_probability_on_and_underlined_from_a_half(colours: str) -> None:
    assert heat_style(0.0, colours) == ""
    for least, style in heat_steps(colours):
        assert heat_style(least, colours) == style != heat_style(least - 1e-9, colours)
        assert ("underline" in style) == (least >= 0.5)
    assert any(least == 0.5 for least, _ in heat_steps(colours))


def test_sixteen_colours_are_named_as_the_theme_has_them() -> None:
    heat = [style for _, style in heat_steps("standard")]
    labels = [label_style(label, "standard") for label in (1, 2, 3)]
    assert len(set(heat)) == len(heat) == 2 and len(set(labels)) == 3
    assert not any("#" in style for style in heat + labels)
