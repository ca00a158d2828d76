"""Which texts a report shows token by token: the best, a typical and the worst, by a fixed rule."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthenticity.evaluation.evaluate import Evidence
from synthenticity.evaluation.judging import SCORER, partly_filled
from synthenticity.evaluation.page import HeatSample
from synthenticity.evaluation.predictions import Predictions
from synthenticity.evaluation.sequences import Sequences

MIDDLE, NEAR = 0.4, 0.1
TYPICAL = "a typical one"


def heat_samples(evidence: Evidence, tokenizer: Any) -> list[HeatSample]:
    """Return the three texts of a data set, as the scorer's first run sees them."""
    test, said = evidence.test, evidence.said[SCORER][0]
    return [
        heat_sample_of(test, said, row, tokenizer, which)
        for which, row in shown_rows(test, said).items()
    ]


def shown_rows(test: Sequences, said: Predictions) -> dict[str, int]:
    """Return the partly filled sequences of smallest, of a typical and of largest error.

    The typical one has the median error of those of which about two fifths were filled.
    """
    partly = np.flatnonzero(partly_filled(test))
    error = np.abs(said.ratios - test.ratios)
    middle = partly[np.abs(test.ratios[partly] - MIDDLE) < NEAR]
    some = middle if len(middle) else partly
    return {
        "the smallest error of all": int(partly[error[partly].argmin()]),
        TYPICAL: int(some[np.argsort(error[some], kind="stable")[len(some) // 2]]),
        "the largest error of all": int(partly[error[partly].argmax()]),
    }


def heat_sample_of(
    test: Sequences, said: Predictions, row: int, tokenizer: Any, which: str
) -> HeatSample:
    """Return one sequence as it is shown, with its counted tokens only."""
    counted = test.counted[row]
    error = abs(float(said.ratios[row] - test.ratios[row]))
    return HeatSample(
        title=f"{which}: {test.columns['document'][row]}, error {error:.3f}",
        tokens=pieces_of(test.columns["input_ids"][row][counted], tokenizer),
        probabilities=None if said.tokens is None else said.tokens[row][counted],
        labels=test.columns["token_labels"][row][counted],
        true=float(test.ratios[row]),
        predicted=float(said.ratios[row]),
    )


def pieces_of(ids: NDArray[np.integer], tokenizer: Any) -> list[str]:
    """Return the text that each token adds to those before it: together, they are the text.

    A character of several tokens stands with the last of them.
    """
    pieces, done = [], ""
    for end in range(1, len(ids) + 1):
        text = tokenizer.decode(ids[:end].tolist(), clean_up_tokenization_spaces=False)
        text = text.rstrip("\ufffd")
        pieces.append(text[len(done) :])
        done = text if len(text) >= len(done) else done
    return pieces
