"""`MLMInferenceEngine`: any `AutoModelForMaskedLM` as a filler of masks.

One model call per round, and the LM head only where a token is masked. In one shot (`steps` 1)
every masked position is written from the unmasked ones alone; in k rounds, later tokens see
earlier ones (MaskGIT: Chang et al. 2022). Special tokens are never written.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from synthenticity.synthesis.checkpoints import MASKED
from synthenticity.synthesis.filling_engine import FillingEngine
from synthenticity.synthesis.masked_head import masked_logits
from synthenticity.synthesis.rows import Fill, Rows
from synthenticity.synthesis.sampling import position_keys


class MLMInferenceEngine(FillingEngine):
    """A pretrained masked language model that writes tokens at masked positions.

    Args:
        model: any `AutoModelForMaskedLM`; put into evaluation mode.
        tokenizer: its fast tokenizer, with a mask token.
        name: what records say wrote the tokens.
        revision: the commit of the hub that the model is, if it came from there.
        unwritable_ids: ids that are never written, beside the special ones.

    Raises:
        ModelError: the tokenizer has no mask token, or does not fit the model.

    """

    way = MASKED
    mask_token_id: int

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        name: str = "mlm",
        revision: str | None = None,
        unwritable_ids: Iterable[int] = (),
    ) -> None:
        super().__init__(
            model, tokenizer, name=name, revision=revision, unwritable_ids=unwritable_ids
        )
        self.mask_token_id = int(tokenizer.mask_token_id)

    def _kinds(self, rows: Rows) -> NDArray[Any]:
        """Part padded rows from whole ones: attention without a mask may be another kernel."""
        return np.asarray(rows.visible.all(axis=1))

    def _fill_part(self, rows: Rows) -> Fill:
        found, left = Fill.unwritten(rows.ids), rows.mask.copy()
        counts = rows.mask.sum(axis=1)
        steps = np.minimum(rows.steps, counts)
        for done in range(int(steps.max())):
            active = np.nonzero(steps > done)[0]
            quota = ((done + 1) * counts // steps - done * counts // steps)[active]
            self._write_round(rows, found, left, active, quota)
        return found

    def _write_round(
        self,
        rows: Rows,
        found: Fill,
        left: NDArray[np.bool_],
        active: NDArray[np.int64],
        quota: NDArray[np.int64],
    ) -> None:
        """Write `quota` tokens in each active row, and take their positions from `left`.

        The head sees every position that is left where the most confident are to be written,
        and where lots decide, only those written now.
        """
        masked = left[active]
        drawn_lots = _first(masked, _lots(rows[active]), quota)
        confident = (rows.order[active] == "confident")[:, None]
        asked = np.where(confident, masked, drawn_lots)
        place, column = np.nonzero(asked)
        row = active[place]
        inputs = np.where(masked, self.mask_token_id, found.ids[active])
        visible = rows.visible[active]
        logits = masked_logits(
            self.model,
            self._tensor(inputs),
            self._tensor(asked),
            None if visible.all() else self._tensor(visible.astype(np.int64)),
        )
        tokens, probability, rank = self._draw(logits, rows, row, column)
        doubt = np.zeros(asked.shape, dtype=np.float32)
        doubt[place, column] = -probability
        written = np.where(confident, _first(masked, doubt, quota), drawn_lots)[place, column]
        at = row[written], column[written]
        found.put(at, (tokens[written], probability[written], rank[written]))
        left[at] = False

    def _tensor(self, values: NDArray[Any]) -> torch.Tensor:
        return torch.as_tensor(values, device=self.model.device)


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
