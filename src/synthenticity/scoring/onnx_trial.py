"""The trial of an ONNX file: every output beside the scorer's own, at the shapes that go wrong.

A conversion follows one example, so it is tried on others: one token after [CLS], a padded batch,
and whole windows. A logit may differ by as much as moves its probability by what a probability may
differ; at the far ends, where that is nothing, by a tenth (`LEAST_SLOPE`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from synthenticity.scoring.trial_windows import LEAST_TEXT, trial_windows
from synthenticity.training.sequence_scorer import SequenceScorer

Floats = NDArray[np.float64]
TOKEN_LOGITS, LOGIT = "token_logits", "logit"
LEAST_SLOPE = 1e-4
ROWS = 6
LENGTH = 48


@dataclass(frozen=True)
class Tolerance:
    """By how much probabilities and ratios may differ, in the mean and at most."""

    mean: float
    largest: float


EXACT = Tolerance(1e-5, 1e-5)
INT8 = Tolerance(0.005, 0.02)
"""Of a window: some four times what real scorers differ by on real text (docs/exports.md)."""
INT8_TOKENS = Tolerance(0.01, 0.2)
"""Of a token: the same."""


def find_fault(scorer: SequenceScorer, path: Path, *, int8: bool) -> str | None:
    """Return which output of an ONNX file is not the scorer's, and by how much; None if none is."""
    differences: dict[str, list[Floats]] = {}
    for expected, found, visible in _said(scorer, path):
        for name, theirs in found.items():
            apart = _apart(name, np.asarray(expected[name], dtype=np.float64), theirs)
            some = apart[visible] if name == TOKEN_LOGITS else apart
            differences.setdefault(name, []).append(some.ravel())
    for name, parts in differences.items():
        apart = np.concatenate(parts)
        allowed = EXACT if not int8 else INT8_TOKENS if name == TOKEN_LOGITS else INT8
        if not (apart.mean() <= allowed.mean and apart.max() <= allowed.largest):
            return f"{name}, by {apart.mean():.1g} in the mean and {apart.max():.1g} at most"
    return None


@torch.no_grad()
def _said(
    scorer: SequenceScorer, path: Path
) -> Iterator[tuple[Mapping[str, Any], dict[str, Floats], NDArray[np.bool_]]]:
    """Yield what the scorer says of trial windows, what the file does, and which tokens count."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    for rows, length in ((1, LEAST_TEXT), (ROWS, LENGTH), (2, int(scorer.config.block_size))):
        ids, visible = trial_windows(scorer, rows, length)
        given = {"input_ids": ids.numpy(), "attention_mask": visible.numpy()}
        found = dict(zip(names, session.run(names, given), strict=True))
        shown = visible.numpy() == 1
        shown[:, 0] = False  # what is said of [CLS] means nothing
        yield scorer(ids, visible), found, shown


def _apart(name: str, ours: Floats, theirs: Floats) -> Floats:
    """Return by how much values differ, logits as their probabilities do."""
    apart = np.abs(ours - np.asarray(theirs, dtype=np.float64))
    if name in (TOKEN_LOGITS, LOGIT):
        probability = 1 / (1 + np.exp(-ours))
        apart *= np.maximum(probability * (1 - probability), LEAST_SLOPE)
    return apart
