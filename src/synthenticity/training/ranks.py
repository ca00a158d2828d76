"""The processes of a distributed run, and how they decide together.

Whoever decides alone leaves the others waiting in a collective call for ever, so whatever depends
on a clock, a signal or the disk is agreed on first: one call of two numbers a step. Another call
adds up what the tokens of the step weigh.
"""

import os

import torch
from torch import Tensor, distributed

from synthenticity.errors import ConfigError


class Ranks:
    """This process among those that train together; alone unless a launcher says otherwise.

    Raises:
        ConfigError: the launcher's variables are incomplete, or do not fit together.

    """

    def __init__(self) -> None:
        self.world_size = _number("WORLD_SIZE", 1)
        self.rank = _number("RANK", 0)
        if not 0 <= self.rank < self.world_size:
            raise ConfigError(
                f"train: RANK is {self.rank} and WORLD_SIZE {self.world_size}. Start the processes "
                "with torchrun, or unset both."
            )
        if self.world_size > 1 and "LOCAL_RANK" not in os.environ:
            raise ConfigError(
                f"train: WORLD_SIZE is {self.world_size} and LOCAL_RANK is not set. Start the "
                "processes with torchrun, or unset WORLD_SIZE."
            )

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def largest(self, *values: int) -> list[int]:
        """Return of each value the largest that any process gave; all must call it."""
        if self.world_size == 1:
            return list(values)
        given = _shareable(values)
        distributed.all_reduce(given, op=distributed.ReduceOp.MAX)
        return [int(value) for value in given.tolist()]

    def of_each(self, *values: int) -> list[tuple[int, ...]]:
        """Return the values of every process, in the order of the ranks; all must call it."""
        if self.world_size == 1:
            return [values]
        given = _shareable(values)
        each = [torch.empty_like(given) for _ in range(self.world_size)]
        distributed.all_gather(each, given)
        return [tuple(one.tolist()) for one in each]

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of a number over all processes; all must call it."""
        if self.world_size == 1:
            return value
        mean = value.detach().float().clone()
        distributed.all_reduce(mean)
        return mean / self.world_size


def _shareable(values: tuple[int, ...]) -> Tensor:
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    return torch.tensor(values, dtype=torch.int64, device=device)


def _number(name: str, default: int) -> int:
    """Return a variable of the launcher's; an empty one counts as unset."""
    said = os.environ.get(name) or str(default)
    try:
        return int(said)
    except ValueError:
        raise ConfigError(f"train: {name} is {said!r}, which is no number. Unset it.") from None
