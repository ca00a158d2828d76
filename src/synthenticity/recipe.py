"""`Recipe`: one way of making a sequence partly synthetic; a mixture is several, with weights.

Pattern and ratio say what is masked, the rest how it is filled and by which model.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any

from synthenticity.settings import bound_problems, choice_problems, range_problems, setting

MASK_PATTERNS = ("random", "span", "sticky", "word", "line", "sentence", "prefix", "suffix")
FILL_ORDERS = ("confident", "random")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """One way of making a sequence partly synthetic; a mixture is a tuple of weighted recipes."""

    pattern: str = setting("", "random", "rule that chooses the positions", MASK_PATTERNS)
    ratio: tuple[float, float] = setting("", (0.0, 1.0), "range the masked share is drawn from")
    weight: float = setting("", 1.0, "share of the sequences made this way, relative")
    temperature: float = setting("", 1.0, "of the sampling; 0 writes the likeliest token")
    top_k: int | None = setting("", None, "sample among the k likeliest tokens only")
    top_p: float | None = setting("", None, "sample within this probability mass only")
    mean_span: float = setting("", 8.0, "`span`: mean length of a span, in tokens")
    stickiness: float = setting("", 8.0, "`sticky`: how much likelier a neighbour is chosen")
    steps: int = setting("", 1, "rounds in which the masks are filled; later ones see earlier ones")
    order: str = setting("", "confident", "what a round fills first", FILL_ORDERS)
    forbid_original: bool = setting("", False, "never write the token that stood there")
    mlm_checkpoint_path: str | None = setting(
        "", None, "the filling model of this recipe (folder, id or ID@REVISION); default: the run's"
    )

    @property
    def name(self) -> str:
        """A short label that tells recipes apart in data and in tables.

        >>> Recipe(pattern="span", ratio=(0.1, 0.7), top_k=50).name
        'span m8 0.1-0.7 t1 k50'
        >>> Recipe(steps=8, order="random", forbid_original=True, mlm_checkpoint_path="m/bert").name
        'random 0-1 t1 i8r f @bert'
        """
        low, high = self.ratio
        ratio = f"{low:g}" if low == high else f"{low:g}-{high:g}"
        shape = {"span": f"m{self.mean_span:g}", "sticky": f"s{self.stickiness:g}"}
        parts = [self.pattern, *([shape[self.pattern]] if self.pattern in shape else [])]
        parts += [ratio, f"t{self.temperature:g}"]
        parts += [f"k{self.top_k}"] if self.top_k else []
        parts += [f"p{self.top_p:g}"] if self.top_p else []
        parts += [f"i{self.steps}{'r' * (self.order == 'random')}"] if self.steps > 1 else []
        parts += ["f"] if self.forbid_original else []
        parts += [f"@{Path(self.mlm_checkpoint_path).name}"] if self.mlm_checkpoint_path else []
        return " ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Return the values that differ from the defaults, as plain ones."""
        return {
            field.name: list(value) if isinstance(value, tuple) else value
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != field.default
        }

    def problems(self) -> list[str]:
        """Return what is wrong with the values, one sentence each."""
        return [
            *choice_problems(self),
            *range_problems("ratio", self.ratio),
            *bound_problems(self, RECIPE_BOUNDS),
            *order_problems(self),
        ]


SHARE = (0.0, 1.0)
POSITIVE = (1, math.inf)
NOT_NEGATIVE = (0, math.inf)
RECIPE_BOUNDS: dict[str, tuple[float, float]] = {
    "weight": NOT_NEGATIVE,
    "temperature": NOT_NEGATIVE,
    "top_k": POSITIVE,
    "top_p": SHARE,
    "mean_span": POSITIVE,
    "stickiness": POSITIVE,
    "steps": POSITIVE,
}


def order_problems(settings: Any) -> list[str]:
    """Say whether an order is given that nothing follows."""
    if settings.order != "confident" and settings.steps == 1:
        return ["order: has no effect in one round. Set steps to 2 or more."]
    return []
