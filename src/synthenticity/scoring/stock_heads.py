"""One number of a scorer, as a head that is a stock class of transformers says it.

Many stock heads put a hidden layer (dense, activation, perhaps a norm) before the one that gives
the logit. Here each unit of it sees the scorer's number at another slope and shift, and the last
layer is fitted to what the number means, by what the units truly say of a grid of numbers: least
squares, weighted by what a probability feels. So any activation serves, and a scorer's map, which
no linear layer is, comes through, too: to some 1e-6 of a probability (tests/scoring).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from synthenticity.errors import ModelError

Floats = NDArray[np.float64]
FARTHEST = 18.0
"""The grid reaches so far to both sides: beyond, a probability is within 1e-7 of 0 or 1."""
STEPS = 1201
SPREAD_SLOPE = 0.5
"""Of the units whose shifts are spread over the grid, half of them with the other sign."""
PLAIN_SLOPES = (1.0, 2.0**-6, 2.0**-10)
"""Of unshifted ones: nearly linear wherever the activation bends."""
MOST_UNITS = 512
LARGE = 1000.0
"""Two units of that size, one negative, make a norm divide by nearly the same whatever the number
is."""
LEAST_SINGULAR = 1e-7
"""Combinations of units that say less are rounding."""
LEAST_FELT = 1e-6
"""The least weight of a number whose probability is all but certain."""
ALLOWED = 9e-6
"""By which a probability may differ, out to twice the grid."""


@dataclass(frozen=True)
class StockHead:
    """The layers of a stock model that its encoder lacks.

    `dense` and `norm` are None where there are none.
    """

    dense: nn.Linear | None
    norm: nn.LayerNorm | None
    out: nn.Linear


def find_head(model: Any, encoder: nn.Module) -> StockHead | None:
    """Return the head of a stock model whose encoder is known; None if it is of another kind."""
    prefix = model.base_model_prefix
    own = {f"{prefix}.{name}" for name in encoder.state_dict()}
    added = [
        module
        for name, module in model.named_modules()
        if any(f"{name}.{each}" not in own for each, _ in module.named_parameters(recurse=False))
    ]
    width = int(model.config.hidden_size)
    kinds = [type(module) for module in added]
    if kinds not in (
        [nn.Linear],
        [nn.Linear, nn.Linear],
        [nn.Linear, nn.LayerNorm, nn.Linear],
    ):
        return None
    dense = added[0] if len(added) > 1 else None
    norm = added[1] if len(added) > 2 else None
    if dense is not None and (dense.weight.shape != (width, width) or dense.bias is None):
        return None
    return StockHead(dense, norm, added[-1])


@torch.no_grad()
def set_head(
    model: Any, head: StockHead, source: nn.Linear, meaning: Callable[[Floats], Floats]
) -> None:
    """Make the last output of a stock head say what a scorer's number means, its others 0.

    Args:
        model: is run, to see what its hidden layer says.
        head: of the model; all of it is written.
        source: the scorer's layer that gives the number.
        meaning: logits of numbers, both `[numbers]`.

    Raises:
        ModelError: the head cannot say it.

    """
    head.out.weight.zero_()
    head.out.bias.zero_()
    if head.dense is None:
        slope, shift = _line(meaning)
        head.out.weight[-1] = slope * source.weight[0]
        head.out.bias[-1] = slope * source.bias[0] + shift
        return
    plain = head.norm is not None and is_line(meaning)
    slopes, shifts = _units(head.out.in_features, plain=plain, normed=head.norm is not None)
    head.dense.weight[:] = slopes[:, None] * source.weight
    head.dense.bias[:] = slopes * source.bias + shifts
    if head.norm is not None:
        head.norm.weight.fill_(1.0)
        if head.norm.bias is not None:
            head.norm.bias.zero_()
    numbers = np.linspace(-FARTHEST, FARTHEST, STEPS)
    weights, bias = _fitted(_said(model, head, slopes, shifts, numbers), meaning(numbers))
    head.out.weight[-1] = torch.from_numpy(weights)
    head.out.bias[-1] = bias
    others = np.linspace(-2 * FARTHEST, 2 * FARTHEST, STEPS)
    _check(head, _said(model, head, slopes, shifts, others), meaning(others))


def _line(meaning: Callable[[Floats], Floats]) -> tuple[float, float]:
    if not is_line(meaning):
        raise ModelError(
            "its head has no hidden layer, and the scorer's map (ratio_map) is no line. Export to "
            "onnx."
        )
    zero, one = meaning(np.array([0.0, 1.0]))
    return float(one - zero), float(zero)


def is_line(meaning: Callable[[Floats], Floats]) -> bool:
    """Whether logits follow numbers in a line."""
    numbers = np.linspace(-FARTHEST, FARTHEST, STEPS)
    return bool(np.abs(np.diff(meaning(numbers), n=2)).max() < 1e-9)


def _units(width: int, *, plain: bool, normed: bool) -> tuple[Tensor, Tensor]:
    """Return slope and shift of each unit, `[width]` both; units that are not needed have 0."""
    pairs = [(sign * slope, 0.0) for slope in PLAIN_SLOPES for sign in (1.0, -1.0)]
    large = [(0.0, LARGE), (0.0, -LARGE)] if normed else []
    units = [*(pairs[:2] if plain else pairs), *large]
    left = 0 if plain else min(width, MOST_UNITS) - len(units)
    places = np.linspace(-1, 1, max(left // 2, 0)) ** 3 * FARTHEST / 2  # most where a map bends
    for slope in (SPREAD_SLOPE, -SPREAD_SLOPE):
        units += [(slope, -slope * float(place)) for place in places]
    padded = torch.zeros(width, 2)
    padded[: len(units)] = torch.tensor(units[:width])
    return padded[:, 0], padded[:, 1]


def _said(model: Any, head: StockHead, slopes: Tensor, shifts: Tensor, numbers: Floats) -> Floats:
    """Return what the last layer is given for each number, `[numbers, width]`."""
    seen: list[Tensor] = []
    inputs = torch.from_numpy(numbers).float()[:, None] * slopes + shifts

    def answer(_module: nn.Module, _given: Any, output: Tensor) -> Tensor:
        rows = inputs if output.dim() == 2 else inputs[:, None].expand_as(output)
        return rows.contiguous()

    assert head.dense is not None
    hooks = [
        head.dense.register_forward_hook(answer),
        head.out.register_forward_pre_hook(lambda _module, given: seen.append(given[0])),
    ]
    try:
        ids = torch.full((len(numbers), 2), 1)
        model(input_ids=ids, attention_mask=torch.ones_like(ids))
    finally:
        for hook in hooks:
            hook.remove()
    found = seen[0] if seen[0].dim() == 2 else seen[0][:, 0]
    return found.double().numpy()


def _fitted(said: Floats, logits: Floats) -> tuple[NDArray[np.float32], float]:
    """Return weights `[width]` and bias that make logits of what units say."""
    feels = _sigmoid(logits) * _sigmoid(-logits) + LEAST_FELT
    columns = np.concatenate([said, np.ones((len(said), 1))], axis=1)
    sizes = np.maximum(np.abs(columns).max(axis=0), 1e-12)
    matrix = columns / sizes * feels[:, None]
    found, *_ = np.linalg.lstsq(matrix, logits * feels, rcond=LEAST_SINGULAR)
    found /= sizes
    return found[:-1].astype(np.float32), float(found[-1])


def _check(head: StockHead, said: Floats, logits: Floats) -> None:
    """Raise a `ModelError` if the head says something else of the grid."""
    made = head.out(torch.from_numpy(said).float())[:, -1].double().numpy()
    worst = float(np.abs(_sigmoid(made) - _sigmoid(logits)).max())
    if not worst <= ALLOWED:
        raise ModelError(
            f"its hidden layer cannot say the scorer's logit (probabilities differ by {worst:.1g})."
            " Export to onnx."
        )


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-logits)))
