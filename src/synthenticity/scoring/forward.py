"""What a scorer says of windows: in full batches, and to the same bits in any company.

Windows of all texts are sorted by length and share batches by a budget of tokens. A window's bits
depend on its padded width, and on whether a mask goes with it, so both follow from its own length
alone: widths are multiples of 16, and full rows never share a batch with padded ones. What is
left after the model is done by numpy: PyTorch rounds the last elements of a vector otherwise.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from synthenticity.runtimes.packing import (
    can_pack,
    copy_for_inference,
    fast_for_inference,
    pack_linear_layers,
)
from synthenticity.runtimes.runtime import FORWARD_TOKENS, KERNEL_BLOCK
from synthenticity.scoring.windows import cut_windows, own_weights
from synthenticity.training.sequence_scorer import MEAN_MARGIN, SequenceScorer

OnShare = Callable[[float], None]
BATCH_TOKENS = {"cpu": FORWARD_TOKENS, "cuda": 65536, "mps": 16384}


def fast_scorer(model: SequenceScorer, device: torch.device, dtype: torch.dtype) -> SequenceScorer:
    """Return a copy of a scorer that computes fast, its encoder in `dtype`.

    The heads stay in float32: a logit of eight bits would give many texts the same score.
    """
    fast: SequenceScorer = copy_for_inference(model, device, torch.float32)
    fast.encoder = fast_for_inference(model.encoder, device, dtype)
    if can_pack(device):
        pack_linear_layers(fast, torch.float32)
    return fast


def plan_batches(
    lengths: NDArray[np.int64], longest: int, batch_tokens: int
) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield batches, widest first: numbers of rows `[rows]`, and the width they are padded to.

    >>> lengths = np.array([5, 40, 32, 9, 40, 32])
    >>> [(rows.tolist(), width) for rows, width in plan_batches(lengths, 40, 80)]
    [([1, 4], 40), ([2, 5], 32), ([0, 3], 16)]
    """
    widths = np.minimum(-(-lengths // KERNEL_BLOCK) * KERNEL_BLOCK, longest)
    kinds = 2 * widths + (lengths < widths)
    order = np.argsort(-kinds, kind="stable")
    borders = np.flatnonzero(np.diff(kinds[order])) + 1
    for members in np.split(order, borders) if len(order) else ():
        width = int(widths[members[0]])
        rows = max(1, batch_tokens // width)
        for start in range(0, len(members), rows):
            yield members[start : start + rows], width


def round_number(rows: int) -> int:
    """Return how many rows a batch of so many is given, at most a fourth more.

    A size that was never met costs kernels and trials (`runtimes.steady_rows`), several times what
    the batch itself does; a server that merges requests would meet hundreds.

    >>> [round_number(rows) for rows in (1, 3, 5, 8, 9, 17, 100)]
    [1, 3, 5, 8, 10, 20, 112]
    """
    step = max(1, (1 << rows.bit_length() - 1) // 4)
    return -(-rows // step) * step


@dataclass(frozen=True)
class WindowScores:
    """What a scorer says of windows.

    Attributes:
        ratios: the synthenticity of each, `[windows]`.
        intervals: in which the truth lies as often as the scorer's interval promises,
            `[windows, 2]`.
        token_logits: of each token of all texts `[tokens]`; None without a token head.

    """

    ratios: NDArray[np.float64]
    intervals: NDArray[np.float64]
    token_logits: NDArray[np.float32] | None


@dataclass(frozen=True)
class TextScores:
    """What a scorer says of one text: of its windows, and by what they count, `[windows]`; zeros if
    no token is counted. `windows.token_logits` are those of the text, `[tokens]`.
    """

    windows: WindowScores
    weights: NDArray[np.float64]

    @property
    def known(self) -> bool:
        """Whether the text has a token that is counted."""
        return bool(self.weights.any())

    def mean(self, values: NDArray[np.float64]) -> Any:
        """Return the mean of values of the windows `[windows, ...]`, by what they count."""
        return np.dot(self.weights, values)


def score_texts(
    model: SequenceScorer,
    tokenizer: Any,
    texts: Sequence[NDArray[np.int64]],
    batch_tokens: int,
    *,
    on_share: OnShare | None = None,
) -> Iterator[TextScores]:
    """Yield what a scorer says of each text, given as ids `[tokens]`; their windows share batches.

    Nothing that is yielded holds on to another text's. `on_share` is told after each batch which
    share of all windows is done.
    """
    begins = np.cumsum([0, *map(len, texts)]).tolist()
    plan = [cut_windows(len(ids), int(model.config.block_size) - 1) for ids in texts]
    bounds = [
        (begin + each.start, begin + each.end, begin + each.own_start, begin + each.own_end)
        for begin, windows in zip(begins[:-1], plan, strict=True)
        for each in windows
    ]
    said = score_windows(
        model,
        tokenizer,
        np.concatenate([*texts, np.zeros(0, dtype=np.int64)]),
        np.array(bounds, dtype=np.int64).reshape(-1, 4),
        batch_tokens,
        on_share=on_share,
    )
    seen = 0
    for ids, windows, begin in zip(texts, plan, begins[:-1], strict=True):
        some = slice(seen, seen + len(windows))
        seen += len(windows)
        logits = said.token_logits
        own = None if logits is None else logits[begin : begin + len(ids)].copy()
        counted = ~np.isin(ids, model.config.special_token_ids)
        yield TextScores(
            WindowScores(said.ratios[some], said.intervals[some], own),
            own_weights(windows, counted),
        )


@torch.inference_mode()
def score_windows(
    model: SequenceScorer,
    tokenizer: Any,
    ids: NDArray[np.int64],
    bounds: NDArray[np.int64],
    batch_tokens: int,
    *,
    on_share: OnShare | None = None,
) -> WindowScores:
    """Return the synthenticity of each window, its interval, and each token's logit.

    `ids` `[tokens]` are those of all texts, one after the other. `bounds` `[windows, 4]` says
    where in them a window starts and ends, and where the tokens that it counts do.
    """
    starts, ends, own_starts, own_ends = bounds.T[:, :, None]
    ratios, intervals = np.empty(len(bounds)), np.empty((len(bounds), 2))
    logits = None if model.token_head is None else np.empty(len(ids), dtype=np.float32)
    lengths = 1 + bounds[:, 1] - bounds[:, 0]
    done = 0
    for rows, width in plan_batches(lengths, model.config.block_size, batch_tokens):
        places = starts[rows] + np.arange(-1, width - 1)
        visible = places < ends[rows]
        batch = np.where(visible, ids[np.clip(places, 0, len(ids) - 1)], tokenizer.pad_token_id)
        batch[:, 0] = tokenizer.cls_token_id
        filler = [(0, round_number(len(rows)) - len(rows)), (0, 0)]
        output = model(
            torch.as_tensor(np.pad(batch, filler, mode="edge"), device=model.device),
            torch.as_tensor(np.pad(visible, filler, mode="edge").astype(int), device=model.device),
        )
        count = len(rows)
        ratios[rows] = _join_heads(output, model.config.ratio_map)[:count]
        intervals[rows] = _intervals(output, count, ratios[rows], model.config.interval_margin)
        if logits is not None:
            owned = (places >= own_starts[rows]) & (places < own_ends[rows])
            logits[places[owned]] = output.token_logits.cpu().numpy()[:count][owned]
        done += count
        if on_share is not None:
            on_share(done / len(bounds))
    return WindowScores(ratios, intervals, logits)


def _join_heads(output: Any, ratio_map: Sequence[float]) -> NDArray[np.float64]:
    """Return the synthenticities `[rows]` of a `ScorerOutput`, in float64.

    What `SequenceScorer.forward` says in float32, of the heads' own values.
    """
    logit = output.cls_logit.cpu().numpy().astype(np.float64)
    if output.token_logits is None:
        return _sigmoid(_mapped(logit, ratio_map))
    probability = _sigmoid(output.token_logits.cpu().numpy().astype(np.float64))
    counted = output.counted.cpu().numpy()
    mean = (probability * counted).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
    mean = mean.clip(MEAN_MARGIN, 1 - MEAN_MARGIN)
    return _sigmoid(_mapped(logit + np.log(mean / (1 - mean)), ratio_map))


def _mapped(logit: NDArray[np.float64], ratio_map: Sequence[float]) -> NDArray[np.float64]:
    """Return what `mapped_logit` does."""
    a, b, c = ratio_map
    return np.asarray(b * np.logaddexp(0, logit) - a * np.logaddexp(0, -logit) + c)


def _intervals(
    output: Any, count: int, ratios: NDArray[np.float64], margin: float
) -> NDArray[np.float64]:
    """Return the interval of each of the first rows, `[count, 2]`, as `SequenceScorer.forward`
    does.
    """
    logits = output.interval_logits.cpu().numpy().astype(np.float64)[:count]
    reach = (np.logaddexp(0, logits) + margin).clip(0)
    ends = ratios[:, None] + reach * [-1, 1]
    return np.asarray(ends.clip(0, 1))


def _sigmoid(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-logit)))
