"""The scales of int8, chosen by the user's own text, and what int8 changes of the model.

Scales are chosen once, before anything is filled, from rows of the text that will be filled. Other
rows of it are the trial: how far the model's predictions move (Kullback-Leibler divergence), and
how many of its draws become others under the same noise.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from synthenticity.errors import ConfigError, ModelError
from synthenticity.runtimes.runtime import KERNEL_BLOCK, Runtime
from synthenticity.runtimes.torch_runtime import TorchRuntime
from synthenticity.seeding import numpy_rng
from synthenticity.synthesis.sampling import Sampling, draw_tokens
from synthenticity.text.files import STANDARD_INPUT
from synthenticity.text.reading import CorpusSource, read_documents
from synthenticity.text.tokenization import special_ids

logger = logging.getLogger(__name__)

TEXTS = 256
"""So many are enough: more do not lower the divergence."""
FEWEST_TEXTS = 8
DOCUMENTS, PIECES, CHARACTERS = 256, 32, 1200
"""From how many documents they come, how many of each at most, and how long they are."""
LENGTH = 256
MASKED_SHARES = (0.15, 0.5)
TRIAL_SHARE = 0.25
MOST_DIVERGENCE = 0.01
"""Nats. A model that moves further does not bear int8."""
BLOCK = 512


@dataclass(frozen=True)
class MaskedRows:
    """Rows of ids, which places hold the mask, and which are no padding, all `[rows, length]`."""

    ids: NDArray[np.int64]
    places: NDArray[np.bool_]
    visible: NDArray[np.bool_]

    def __getitem__(self, rows: slice) -> "MaskedRows":
        return MaskedRows(self.ids[rows], self.places[rows], self.visible[rows])


@dataclass(frozen=True)
class Accuracy:
    """How far one runtime's predictions are from another's.

    Attributes:
        divergence: mean Kullback-Leibler divergence at masked positions, nats.
        flipped: share of the draws that become others under the same noise.
        positions: how many masked positions were compared.

    """

    divergence: float
    flipped: float
    positions: int


def sample_texts(source: CorpusSource) -> list[str]:
    """Return pieces of the first documents of a corpus, evenly spread over each.

    Raises:
        ConfigError: the corpus is standard input, which cannot be read twice.

    """
    if source.source == STANDARD_INPUT:
        raise ConfigError(
            "dtype: int8 reads the beginning of the corpus before it is filled, and standard input "
            'cannot be read twice. Save the texts to a file, or set dtype = "bfloat16".'
        )
    texts: list[str] = []
    documents = read_documents(source, on_rejected=lambda _: None)
    for document in islice(documents, DOCUMENTS):
        last = max(1, len(document.text) - CHARACTERS)
        step = max(CHARACTERS, last // PIECES)
        texts += [document.text[at : at + CHARACTERS] for at in range(0, last, step)][:PIECES]
    return texts[:: max(1, len(texts) // TEXTS)][:TEXTS]


def masked_rows(tokenizer: Any, texts: Sequence[str], longest: int) -> MaskedRows:
    """Tokenize the beginnings of texts and mask 15 to 50 % of each, always the same ones."""
    encoded = tokenizer(
        list(texts)[:TEXTS],
        truncation=True,
        max_length=min(LENGTH, longest) // KERNEL_BLOCK * KERNEL_BLOCK,
        padding=True,
        pad_to_multiple_of=KERNEL_BLOCK,
        return_tensors="np",
    )
    ids = encoded["input_ids"].astype(np.int64)
    rng = numpy_rng(0, "", 0, "calibration")
    maskable = ~np.isin(ids, special_ids(tokenizer))
    shares = rng.uniform(*MASKED_SHARES, size=(len(ids), 1))
    places = (rng.random(ids.shape) < shares) & maskable
    kept = places.any(axis=1)
    return MaskedRows(
        np.where(places, tokenizer.mask_token_id, ids)[kept],
        places[kept],
        encoded["attention_mask"].astype(bool)[kept],
    )


def calibrate(runtime: Runtime, model: Any, rows: MaskedRows, name: str) -> Accuracy:
    """Choose the scales of a runtime, and compare it with PyTorch in float32.

    Raises:
        ModelError: too few rows, or the model does not bear int8.

    """
    if len(rows.ids) < FEWEST_TEXTS:
        raise ModelError(
            f"dtype: int8 chooses its scales by the text, and {len(rows.ids)} texts are too few "
            f'for {name}. Give {FEWEST_TEXTS} or more, or set dtype = "bfloat16".'
        )
    trial = max(1, int(len(rows.ids) * TRIAL_SHARE))
    seen = rows[trial:]
    runtime.calibrate(seen.ids, seen.places, seen.visible)
    reference = TorchRuntime(model, torch.device("cpu"), "float32")
    accuracy = compare(reference, runtime, rows[:trial])
    if not accuracy.divergence <= MOST_DIVERGENCE:
        raise ModelError(
            f"dtype: int8 moves the predictions of {name} by {accuracy.divergence:.3g} nats, more "
            f'than {MOST_DIVERGENCE}. Set dtype = "bfloat16".'
        )
    logger.info(
        "%s in int8: predictions move by %.2g nats, and %.2f %% of the draws change.",
        name,
        accuracy.divergence,
        100 * accuracy.flipped,
    )
    return accuracy


@torch.inference_mode()
def compare(reference: Runtime, other: Runtime, rows: MaskedRows) -> Accuracy:
    """Compare the predictions and draws of two runtimes at the masked positions of rows."""
    hidden = [
        runtime.hidden_at(rows.ids, rows.places, rows.visible) for runtime in (reference, other)
    ]
    positions = len(hidden[0])
    divergence, flipped = 0.0, 0
    for start in range(0, positions, BLOCK):
        some = slice(start, start + BLOCK)
        expected, found = (
            runtime.logits(states[some]).cpu()
            for runtime, states in zip((reference, other), hidden, strict=True)
        )
        p, q = expected.double().log_softmax(dim=1), found.double().log_softmax(dim=1)
        divergence += float((p.exp() * (p - q)).sum())
        keys = torch.arange(start, start + len(expected))
        every = Sampling(
            torch.ones(len(keys)), torch.zeros(len(keys), dtype=torch.long), torch.ones(len(keys))
        )
        drawn = (draw_tokens(logits, keys, every) for logits in (expected, found))
        first, second = drawn
        flipped += int((first != second).sum())
    return Accuracy(divergence / max(1, positions), flipped / max(1, positions), positions)
