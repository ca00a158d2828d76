"""Settings as fields of frozen dataclasses: each knows its documentation, choices are checked.

A check returns what is wrong as sentences instead of raising, so that all wrong values of a file
are reported at once.
"""

import dataclasses
import difflib
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any


def setting(group: str, default: Any, doc: str, choices: tuple[str, ...] = ()) -> Any:
    """Declare a field of `Config` with its documentation and, if it is a word, its choices."""
    return dataclasses.field(
        default=default, metadata={"group": group, "doc": doc, "choices": choices}
    )


def choice_problems(settings: Any) -> list[str]:
    """Say of each word setting that is none of its choices."""
    return [
        f"{field.name}: {value!r} is none of {', '.join(choices)}.{did_you_mean(value, choices)}"
        for field in dataclasses.fields(settings)
        if (choices := field.metadata["choices"])
        and (value := getattr(settings, field.name)) not in choices
    ]


def bound_problems(settings: Any, bounds: Mapping[str, tuple[float, float]]) -> list[str]:
    """Say of each number that is outside its bounds or not finite; unset ones are right."""
    return [
        f"{key}: {value:g} is outside {low:g} to {high:g}."
        if math.isfinite(high)
        else f"{key}: {value:g} is not a finite number of at least {low:g}."
        for key, (low, high) in bounds.items()
        if (value := getattr(settings, key)) is not None
        and not (low <= value <= high and math.isfinite(value))
    ]


def range_problems(key: str, value: tuple[float, float]) -> list[str]:
    """Say what is wrong with a range of shares."""
    low, high = value
    if not (0 <= low <= 1 and 0 <= high <= 1):
        return [f"{key}: {low:g} to {high:g} is outside 0 to 1."]
    if low > high:
        return [f"{key}: {low:g} to {high:g} is reversed. Write the smaller number first."]
    return []


def expression_problems(key: str, value: str | None) -> list[str]:
    """Say what is wrong with a regular expression."""
    try:
        re.compile(value or "")
    except re.error as error:
        return [f"{key}: {value!r} is not a regular expression: {error}."]
    return []


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return a suggestion among the known words, or nothing."""
    close = difflib.get_close_matches(str(word), list(known), n=1)
    return f" Did you mean {close[0]}?" if close else ""
