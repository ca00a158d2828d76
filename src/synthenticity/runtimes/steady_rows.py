"""How many rows a matrix product is given, so that each comes out the same whatever their number.

oneDNN chooses its kernel, and with it the order of sums, by the number of rows: in bfloat16 on
processors with AMX, most numbers below 256 are computed otherwise than 4096. Nobody says which, so
each number is tried once for each size of layer, with rows of random numbers, and where the result
would be another, rows are added up to a number that is not.
"""

from typing import Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

STEP = 512
MOST_ROWS, MOST_NUMBERS = 4096, 2**24
MOST_TRIED_ROWS, MOST_TRIED_NUMBERS = 1024, 2**20
"""Different rows of a trial, so many that another order of sums shows through the rounding to
bfloat16, which hides it in all but one of some thousand numbers."""


class Layer(Protocol):
    """What computes `[rows, out_features]` of `[rows, in_features]`."""

    in_features: int
    out_features: int
    dtype: torch.dtype

    def product(self, values: Tensor) -> Tensor:
        """Compute the rows as they are given."""
        ...


class SteadyRows:
    """The steady numbers of rows of layers of one size: they give a row what `measure` rows do.

    Args:
        out_features: of the layers.

    """

    def __init__(self, out_features: int) -> None:
        fitting = MOST_NUMBERS // out_features // STEP * STEP
        self.measure = min(max(fitting, STEP), MOST_ROWS)
        self._tried = min(max(MOST_TRIED_NUMBERS // out_features, 2), MOST_TRIED_ROWS)
        self._known: dict[int, int | None] = {self.measure: self.measure}
        self._measured: WeakKeyDictionary[Layer, Tensor] = WeakKeyDictionary()

    def at_least(self, rows: int, layer: Layer) -> int | None:
        """Return a steady number of rows, this or a little more, by trials of the layer.

        None: there is none, and the rows must be parted by `measure`.
        """
        if rows not in self._known:
            if layer not in self._measured:
                whole = layer.product(_repeated(self._rows(layer), self.measure))
                self._measured[layer] = whole[: self._tried].clone()
            expected = self._measured[layer]
            if torch.equal(expected[0], expected[1]):  # weights of nothing tell nothing
                return rows
            larger = range(-(-rows // STEP) * STEP, self.measure + 1, STEP)
            steady = (some for some in (rows, *larger) if self._is_steady(some, layer, expected))
            self._known[rows] = next(steady, None)
        return self._known[rows]

    def _is_steady(self, count: int, layer: Layer, expected: Tensor) -> bool:
        if count in self._known or not count:
            return not count or self._known[count] == count
        rows = self._rows(layer)
        return all(
            torch.equal(
                layer.product(_repeated(rows.roll(-first, 0), count)),
                _repeated(expected.roll(-first, 0), count),
            )
            for first in range(0, self._tried, count)
        )

    def _rows(self, layer: Layer) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(self._tried, layer.in_features, generator=generator).to(layer.dtype)


def _repeated(rows: Tensor, count: int) -> Tensor:
    return rows.repeat(-(-count // len(rows)), 1)[:count]
