"""The LM head at chosen positions only: the base model's output is cut down before its own head.

Works for every architecture whose head treats positions one by one, masked or causal. Of a
vocabulary of 30,522, the head is the larger half of a small model's work.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from synthenticity.runtimes.runtime import filled_up


@contextmanager
def _base_output_cut_to(model: Any, positions: Tensor) -> Iterator[list[bool]]:
    """Within, the model's head sees only the chosen rows, as a batch of one sequence.

    Hands out a list that is not empty once it happened: a few architectures (OPT) go around
    their base model, and their head sees everything.
    """
    happened: list[bool] = []

    def cut(_module: Any, _args: Any, output: Any) -> Any:
        rows = output.last_hidden_state[positions]
        output.last_hidden_state = filled_up(rows)[None]
        happened.append(True)
        return output

    hook = model.base_model.register_forward_hook(cut)
    try:
        yield happened
    finally:
        hook.remove()


def logits_at(model: Any, positions: Tensor, **inputs: Any) -> tuple[Tensor, Any]:
    """Return the logits `[chosen, vocabulary]` in row-major order, and the model's whole output.

    `positions` is bool `[batch, length]`; `inputs` are the model's own. Gradients flow.
    """
    with _base_output_cut_to(model, positions) as happened:
        output = model(**inputs)
    logits = output.logits
    return (logits[0, : int(positions.sum())] if happened else logits[positions]), output


def masked_logits(
    model: Any, input_ids: Tensor, positions: Tensor, attention_mask: Tensor | None = None
) -> Tensor:
    """Return the logits `[masked, vocabulary]` at the masked positions, in row-major order.

    `input_ids`, `positions` (bool) and `attention_mask` are `[batch, length]`. Gradients flow.
    """
    return logits_at(model, positions, input_ids=input_ids, attention_mask=attention_mask)[0]
