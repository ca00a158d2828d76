"""`MLMInferenceEngine`: any `AutoModelForMaskedLM` as a filler of masks.

One model call per round, and the LM head only where a token is masked. In one shot (`steps` 1)
every masked position is written from the unmasked ones alone; in k rounds, later tokens see
earlier ones (MaskGIT: Chang et al. 2022). Special tokens are never written.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthenticity.errors import ModelError
from synthenticity.runtimes.opening import open_runtime
from synthenticity.runtimes.row_cache import RowCache
from synthenticity.runtimes.runtime import KERNEL_BLOCK
from synthenticity.synthesis.calibration import Accuracy, calibrate, masked_rows
from synthenticity.synthesis.checkpoints import MASKED
from synthenticity.synthesis.filling_engine import FillingEngine
from synthenticity.synthesis.rows import Fill, Rows
from synthenticity.synthesis.sampling import position_keys
from synthenticity.synthesis.vocabulary import logits_width

HEAD_LOGITS = 2**24
"""The head and the drawing see so many logits at once (64 MiB): with fewer they take turns so often
that the threads of one wait for those of the other."""


class MLMInferenceEngine(FillingEngine):
    """A pretrained masked language model that writes tokens at masked positions.

    Args:
        model: any `AutoModelForMaskedLM`; put into evaluation mode.
        tokenizer: its fast tokenizer, with a mask token.
        name: what records say wrote the tokens.
        settings: those of a `FillingEngine`.

    Attributes:
        accuracy: how far int8 is from float32, once it is calibrated.
        cache: the rows that were read.

    Raises:
        ConfigError: runtime, dtype and device do not fit each other.
        ModelError: the tokenizer has no mask token, or does not fit the model.

    """

    way = MASKED
    mask_token_id: int

    def __init__(self, model: Any, tokenizer: Any, *, name: str = "mlm", **settings: Any) -> None:
        super().__init__(model, tokenizer, name=name, **settings)
        self.mask_token_id = int(tokenizer.mask_token_id)
        self.cache = RowCache()
        self._head_rows = max(KERNEL_BLOCK, HEAD_LOGITS // logits_width(model))

    def _open(self, device: torch.device, dtype: str, runtime: str) -> None:
        self.accuracy: Accuracy | None = None
        self.runtime = open_runtime(self.model, device, dtype, runtime)
        self._needs_scales = not self.runtime.calibrated

    @property
    def device(self) -> torch.device:
        """Where logits are."""
        return self.runtime.device

    @property
    def computed_by(self) -> str:
        """Runtime, device kind, dtype."""
        return self.runtime.arithmetic

    @property
    def calibrated(self) -> bool:
        """Whether it can fill; int8 must see text of the user's before, and bear it."""
        return not self._needs_scales or self.accuracy is not None

    def calibrate(self, texts: Sequence[str]) -> None:
        """Choose the scales of int8 by texts like those to be filled; a dtype without does nothing.

        Raises:
            ModelError: the texts are too few, or the model does not bear int8.

        """
        if not self.calibrated:
            rows = masked_rows(self.tokenizer, texts, self.longest_input)
            self.accuracy = calibrate(self.runtime, self.model, rows, self.name)

    def _check(self, rows: Rows) -> None:
        super()._check(rows)
        if not self.calibrated:
            raise ModelError(
                f"{self.name}: int8 has no scales yet. Call calibrate(texts) with texts like those "
                "to be filled."
            )

    def _kinds(self, rows: Rows) -> NDArray[Any]:
        """Part padded rows from whole ones: attention without a mask may be another kernel."""
        return np.asarray(rows.visible.all(axis=1))

    def _fill_part(self, rows: Rows, opinion: bool) -> Fill:
        found, left = Fill.unwritten(rows.ids), rows.mask.copy()
        counts = rows.mask.sum(axis=1)
        steps = np.minimum(rows.steps, counts)
        for done in range(int(steps.max())):
            active = np.nonzero(steps > done)[0]
            quota = ((done + 1) * counts // steps - done * counts // steps)[active]
            self._write_round(rows, found, left, (active, quota), opinion)
        return found

    def _write_round(
        self,
        rows: Rows,
        found: Fill,
        left: NDArray[np.bool_],
        work: tuple[NDArray[np.int64], NDArray[np.int64]],
        opinion: bool,
    ) -> None:
        """Write so many tokens in each active row, and take their positions from `left`.

        The head sees every position that is left where the most confident are to be written,
        and where lots decide or all are written, only those.
        """
        active, quota = work
        masked = left[active]
        is_last = quota == masked.sum(axis=1)
        confident = (rows.order[active] == "confident") & ~is_last
        by_lot = ~confident & ~is_last
        asked = masked.copy()
        asked[by_lot] = _first(masked[by_lot], _lots(rows[active[by_lot]]), quota[by_lot])
        place, column = np.nonzero(asked)
        at = active[place], column
        inputs = np.where(masked, self.mask_token_id, found.ids[active])
        hidden = self.cache.hidden_at(self.runtime, inputs, asked, rows.visible[active])
        opinion = opinion or bool(confident.any())
        drawn = self._draw_all(hidden, rows, at, opinion=opinion)
        if confident.any():
            doubt = np.zeros(asked.shape, dtype=np.float32)
            doubt[place, column] = -drawn[1]
            asked = np.where(confident[:, None], _first(masked, doubt, quota), asked)
            written = asked[place, column]
            at = at[0][written], at[1][written]
            drawn = drawn[0][written], drawn[1][written], drawn[2][written]
        found.put(at, drawn)
        left[at] = False

    def _draw_all(
        self,
        hidden: Tensor,
        rows: Rows,
        at: tuple[NDArray[np.int64], NDArray[np.int64]],
        *,
        opinion: bool,
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Draw a token for each hidden state, a block of them at a time."""
        blocks = []
        for start in range(0, len(hidden), self._head_rows):
            some = slice(start, start + self._head_rows)
            logits = self.runtime.logits(hidden[some])
            blocks.append(self._draw(logits, rows, (at[0][some], at[1][some]), opinion=opinion))
        tokens, probability, rank = (
            torch.cat(parts).cpu().numpy() for parts in zip(*blocks, strict=True)
        )
        return tokens, probability, rank


def _lots(rows: Rows) -> NDArray[np.int64]:
    """Return a random number `[rows, length]` of each position, a function of its row's key."""
    columns = torch.arange(rows.ids.shape[1])
    lots: NDArray[np.int64] = position_keys(torch.tensor(rows.keys)[:, None], columns).numpy()
    return lots


def _first(
    among: NDArray[np.bool_], order: NDArray[Any], quota: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Choose in each row the `quota` lowest of `order`, the left one of equals."""
    ranked = np.lexsort((order, ~among), axis=1)
    place = np.empty_like(ranked)
    np.put_along_axis(place, ranked, np.arange(ranked.shape[1])[None], axis=1)
    return np.asarray(place < quota[:, None])
