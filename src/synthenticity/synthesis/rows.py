"""What an engine is given and what it gives back, row by row."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True)
class Fill:
    """What an engine wrote, all `[batch, length]`.

    `log_probability` (nats, at temperature 1, over ordinary tokens) and `rank` (0 = likeliest)
    are those of the written token at the moment of writing, and 0 and -1 where nothing was
    masked. Both are the model's opinion: a forbidden original counts among the ordinary tokens.
    """

    ids: NDArray[np.int64]
    log_probability: NDArray[np.float32]
    rank: NDArray[np.int32]

    @classmethod
    def unwritten(cls, ids: NDArray[np.int64]) -> "Fill":
        """Return the state in which nothing is written yet."""
        zero = np.zeros(ids.shape, dtype=np.float32)
        return cls(ids.copy(), zero, np.full(ids.shape, -1, dtype=np.int32))

    def put(self, at: Any, drawn: tuple[NDArray[Any], NDArray[Any], NDArray[Any]]) -> None:
        """Note the drawn ids, log-probabilities and ranks at an index."""
        self.ids[at], self.log_probability[at], self.rank[at] = drawn


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows to be filled, and how; the settings are `[rows]`, the others `[rows, length]`.

    `visible` is False at padding.
    """

    ids: NDArray[np.int64]
    mask: NDArray[np.bool_]
    visible: NDArray[np.bool_]
    keys: NDArray[np.int64]
    temperature: NDArray[np.float64]
    top_k: NDArray[np.int64]
    top_p: NDArray[np.float64]
    steps: NDArray[np.int64]
    order: NDArray[np.str_]
    forbid_original: NDArray[np.bool_]

    def __getitem__(self, index: Any) -> "Rows":
        values = (getattr(self, field.name)[index] for field in dataclasses.fields(self))
        return Rows(*values)

    def __len__(self) -> int:
        return len(self.ids)
