"""Made-up windows that an export is tried on: of any tokens, framed and padded as real ones are.

An export is compared with its scorer before it is written, where no text is at hand. Any tokens
will do: what a converter loses (a shape, a mask, a head) it loses of these, too.
"""

import numpy as np
import torch
from torch import Tensor

from synthenticity.training.sequence_scorer import SequenceScorer

LEAST_TEXT = 2
"""[CLS] and a token: no window has less."""


def trial_windows(scorer: SequenceScorer, rows: int, length: int) -> tuple[Tensor, Tensor]:
    """Return ids and mask `[rows, length]`, at most as long as the scorer reads.

    Every second window is padded, from its middle on, if it has more than `LEAST_TEXT` tokens. The
    same call returns the same windows.
    """
    config = scorer.config
    length = min(length, int(config.block_size))
    special = np.array(config.special_token_ids, dtype=np.int64)
    tokens = np.setdiff1d(np.arange(int(config.encoder["vocab_size"])), special)
    drawn = np.random.default_rng(length).choice(tokens, (rows, length))
    padding, first = config.outside_ids or (int(special[0]), int(special[0]))
    visible = torch.ones(rows, length, dtype=torch.long)
    visible[1::2, max(LEAST_TEXT, length // 2) :] = 0
    ids = torch.from_numpy(drawn)
    ids[:, 0] = first
    return ids.masked_fill(visible == 0, padding), visible
