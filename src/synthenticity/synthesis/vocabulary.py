"""Which of the tokens that a model scores stand for text."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthenticity.errors import ModelError
from synthenticity.text.tokenization import special_ids


def logits_width(model: Any) -> int:
    """Return how many tokens the model's head scores."""
    head = model.get_output_embeddings()
    return len((head if head is not None else model.get_input_embeddings()).weight)


def ids_that_are_not_text(model: Any, tokenizer: Any, name: str) -> NDArray[np.int64]:
    """Return the ids that stand for no text: unknown to the tokenizer, or special to it.

    Models round their embedding up, so some rows belong to no token; what they score is noise.

    Raises:
        ModelError: the tokenizer has ids that the model lacks.

    """
    known = np.unique(np.fromiter(tokenizer.get_vocab().values(), dtype=np.int64))
    rows = len(model.get_input_embeddings().weight)
    if known[-1] >= rows:
        raise ModelError(
            f"{name}: its tokenizer has ids up to {known[-1]}, the model only {rows} tokens. "
            "Save the tokenizer that the model was trained with beside it."
        )
    marks = [index for index, token in tokenizer.added_tokens_decoder.items() if token.special]
    text = np.setdiff1d(known, [*marks, *special_ids(tokenizer)])
    return np.setdiff1d(np.arange(logits_width(model)), text)
