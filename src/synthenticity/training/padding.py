"""Which tokens of a batch are no padding."""

from torch import Tensor


def padding_mask(input_ids: Tensor, pad_token_id: int | None) -> Tensor | None:
    """Return which tokens are no padding, `[batch, length]`; None if all are: that is faster."""
    if pad_token_id is None:
        return None
    tokens = input_ids != pad_token_id
    return None if bool(tokens.all()) else tokens.long()
