"""Drawing tokens from logits with noise that is a function of (sequence, position, token id).

Gumbel-max sampling: token = argmax(logits / temperature + noise). Because the noise is keyed by
vocabulary id instead of drawn in turn, a token does not depend on its neighbours in the batch,
and rounding the logits changes fewer draws than with one random number a position, which moves
with every id before the drawn one (docs/benchmarks.md). Nothing here knows of a model; everything
runs on the logits' device.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64


@dataclass(frozen=True)
class Sampling:
    """How to draw, for each row of logits: all tensors `[rows]`.

    `temperature` 0 is greedy; `top_k` 0 and `top_p` 1 do not limit.
    """

    temperature: Tensor
    top_k: Tensor
    top_p: Tensor


def _shift(x: Tensor, bits: int) -> Tensor:
    """Shift right logically: torch has no unsigned 64-bit arithmetic, its own shift keeps signs."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    """Scramble 64 bits: the finalizer of SplitMix64 (Steele, Lea and Flood 2014)."""
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    return x ^ _shift(x, 31)


def position_keys(sequence_keys: Tensor, positions: Tensor) -> Tensor:
    """Return the noise key `[rows]` of each (sequence key, position in the sequence)."""
    return _mix(sequence_keys + (positions + 1) * _GOLDEN)


def draw_sequence_keys(rng: np.random.Generator, rows: int) -> NDArray[np.int64]:
    """Return a noise key `[rows]` for each sequence."""
    return rng.integers(np.iinfo(np.int64).max, size=rows)


def gumbel_noise(keys: Tensor, ids: Tensor) -> Tensor:
    """Return standard Gumbel noise `[rows, ids]` for keys `[rows]` and token ids."""
    bits = _shift(_mix(keys[:, None] + (ids + 1) * _GOLDEN), 11)
    uniform = (bits.double() + 0.5) * 2.0**-53
    return -(-uniform.log()).log()


def draw_tokens(logits: Tensor, keys: Tensor, sampling: Sampling) -> Tensor:
    """Draw one token id a row from logits `[rows, vocabulary]`; banned tokens have logit -inf.

    >>> logits = torch.tensor([[0.0, 9.0, 1.0]])
    >>> greedy = Sampling(torch.zeros(1), torch.zeros(1, dtype=torch.long), torch.ones(1))
    >>> draw_tokens(logits, torch.tensor([7]), greedy)
    tensor([1])
    """
    greedy = sampling.temperature == 0
    scaled = logits.double() / torch.where(greedy, 1.0, sampling.temperature.double())[:, None]
    scaled = _limit_top_k(scaled, sampling.top_k)
    scaled = _limit_top_p(scaled, sampling.top_p)
    ids = torch.arange(logits.shape[1], device=logits.device)
    noise = gumbel_noise(keys, ids)
    return (scaled + torch.where(greedy[:, None], 0.0, noise)).argmax(dim=1)


def _limit_top_k(logits: Tensor, top_k: Tensor) -> Tensor:
    largest = min(int(top_k.max()), logits.shape[1]) if len(top_k) else 0
    if largest == 0:
        return logits
    best = logits.topk(largest, dim=1).values
    last = best.gather(1, (top_k.clamp(1, largest) - 1)[:, None])
    return logits.masked_fill((logits < last) & (top_k > 0)[:, None], -torch.inf)


def _limit_top_p(logits: Tensor, top_p: Tensor) -> Tensor:
    """Keep the likeliest tokens whose mass before them is below `top_p` (Holtzman et al. 2020)."""
    if not bool((top_p < 1).any()):
        return logits
    ordered, order = logits.softmax(dim=1).sort(dim=1, descending=True, stable=True)
    mass_before = ordered.cumsum(dim=1) - ordered
    out = (mass_before >= top_p[:, None]) & (top_p < 1)[:, None]
    out[:, 0] = False
    return logits.masked_fill(torch.zeros_like(out).scatter(1, order, out), -torch.inf)


def rank_of(logits: Tensor, tokens: Tensor) -> Tensor:
    """Return how many tokens are likelier than the given one, `[rows]`; 0 is the likeliest."""
    return (logits > logits.gather(1, tokens[:, None])).sum(dim=1)
