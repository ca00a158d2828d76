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
_HALF_MIX_1 = 0x7FEB352D
_HALF_MIX_2 = 0x846CA68B - 2**32
COLUMN = 16
BLOCK_LOGITS = 2**18
"""Noise is made for so many logits at once, which stay in a processor's cache."""


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


def _mix_half(x: Tensor) -> Tensor:
    """Scramble 32 bits in place (Ellis, hash-prospector: lowbias32)."""
    for bits, factor in ((16, _HALF_MIX_1), (15, _HALF_MIX_2)):
        x.bitwise_xor_((x >> bits).bitwise_and_((1 << (32 - bits)) - 1)).mul_(factor)
    return x.bitwise_xor_((x >> 16).bitwise_and_(0xFFFF))


def gumbel_noise(keys: Tensor, ids: Tensor) -> Tensor:
    """Return standard Gumbel noise `[rows, ids]`, float32, for keys `[rows]` and token ids.

    `ids` is `[ids]`, or `[rows, ids]` where each row has its own. Both halves of a key are mixed
    in, and 31 bits decide, with full precision where noise is large.
    """
    low, high = keys.int()[:, None], (keys >> 32).int()[:, None]
    bits = _mix_half(_mix_half(_mix_half(ids.int() + 1) ^ low).bitwise_xor_(high))
    uniform = bits.bitwise_and_(0x7FFFFFFF).float().add_(0.5).mul_(2.0**-31)
    waiting_time = uniform.clamp_(max=1 - 2.0**-24).neg_().log1p_().neg_()
    return waiting_time.log_().neg_()


def draw_tokens(logits: Tensor, keys: Tensor, sampling: Sampling) -> Tensor:
    """Draw one token id a row from logits `[rows, vocabulary]`; banned tokens have logit -inf.

    Noise is made only for the tokens that may be drawn: of a row with `top_k`, for those k.

    >>> logits = torch.tensor([[0.0, 9.0, 1.0]])
    >>> greedy = Sampling(torch.zeros(1), torch.zeros(1, dtype=torch.long), torch.ones(1))
    >>> draw_tokens(logits, torch.tensor([7]), greedy)
    tensor([1])
    """
    tokens = torch.empty(len(logits), dtype=torch.long, device=logits.device)
    top_k = torch.where(sampling.temperature == 0, 1, sampling.top_k.clamp(max=logits.shape[1]))
    for k in torch.unique(top_k).tolist():  # rows of one k alone: which of equals belong to the k
        members = (top_k == k).nonzero()[:, 0]  # likeliest must not depend on a neighbour's k
        for rows in members.split(max(1, BLOCK_LOGITS // (k or logits.shape[1]))):
            tokens[rows] = _draw_block(logits, rows, k, keys, sampling)
    return tokens


def _draw_block(logits: Tensor, rows: Tensor, k: int, keys: Tensor, sampling: Sampling) -> Tensor:
    """Draw for some rows, among their k likeliest tokens or (0) among all."""
    own = logits if len(rows) == len(logits) else logits[rows]
    ids = torch.arange(logits.shape[1], device=logits.device)
    if k:
        own, ids = _likeliest(own, k)
        if k == 1:
            return ids[:, 0]
    scaled = own / sampling.temperature[rows].float()[:, None]
    top_p = sampling.top_p[rows]
    if bool((top_p < 1).any()):
        scaled = _limit_top_p(scaled, top_p)
    best = scaled.add_(gumbel_noise(keys[rows], ids)).argmax(dim=1)
    return ids.gather(1, best[:, None])[:, 0] if k else best


def _likeliest(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest logits of each row and their ids, in descending order.

    The k largest lie in the k columns of largest maximum, so most of a vocabulary is looked at
    only once, without being sorted.
    """
    columns = logits.shape[1] // COLUMN
    if columns <= k:
        return logits.topk(k, dim=1)
    in_columns = logits[:, : COLUMN * columns].view(-1, COLUMN, columns)
    best = in_columns.amax(dim=1).topk(k, dim=1).indices
    steps = torch.arange(COLUMN, device=logits.device) * columns
    rest = torch.arange(COLUMN * columns, logits.shape[1], device=logits.device)
    ids = torch.cat([(best[:, :, None] + steps).flatten(1), rest.expand(len(best), -1)], dim=1)
    largest, place = logits.gather(1, ids).topk(k, dim=1)
    return largest, ids.gather(1, place)


def _limit_top_p(logits: Tensor, top_p: Tensor) -> Tensor:
    """Keep the likeliest tokens whose mass before them is below `top_p` (Holtzman et al. 2020).

    The mass is summed in the dtype of `top_p`.
    """
    ordered, order = logits.softmax(dim=1).sort(dim=1, descending=True, stable=True)
    mass_before = ordered.cumsum(dim=1, dtype=top_p.dtype) - ordered
    out = (mass_before >= top_p[:, None]) & (top_p < 1)[:, None]
    out[:, 0] = False
    return logits.masked_fill(torch.zeros_like(out).scatter(1, order, out), -torch.inf)
