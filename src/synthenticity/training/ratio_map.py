"""What a trained scorer's ratios mean on text that it was not trained on: a map of three numbers.

The fit is least squares on the val set, with a slight pull to changing nothing, so that it ends
where untouched and filled text do not overlap, too.
"""

from typing import Any

import torch
from torch import Tensor

from synthenticity.training.sequence_scorer import mapped_logit

PULL = 1e-4
"""Against a mean squared error of about .002."""
ITERATIONS = 100


@torch.enable_grad()
def fitted_map(logits: Tensor, true: Tensor) -> list[float]:
    """Return the map (see `mapped_logit`) of logits `[rows]` to true ratios `[rows]`.

    It grows with the logit: its two slopes are exponentials of what is fitted.
    """
    values = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    fit = torch.optim.LBFGS([values], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        fit.zero_grad()
        said = mapped_logit(logits, _coefficients(values)).sigmoid()
        error = (said - true).square().mean() + PULL * values.square().sum()
        error.backward()  # type: ignore[no-untyped-call]
        return error

    fit.step(loss)  # type: ignore[no-untyped-call]
    return [float(value) for value in _coefficients(values.detach())]


def _coefficients(values: Tensor) -> Any:
    return values[0].exp(), values[1].exp(), values[2]
