"""Converting a model from PyTorch for another runtime, and the trial whether it came through.

A conversion follows one example. Of some models it keeps the example's shape or mask with it, so
what was converted is compared with PyTorch at another shape, with padding.
"""

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthenticity.errors import ModelError
from synthenticity.runtimes.attention import choose_attention_to_convert
from synthenticity.runtimes.packing import copy_for_inference
from synthenticity.runtimes.parts import EncoderPart, heads_apart, part
from synthenticity.runtimes.runtime import KERNEL_BLOCK, Runtime

CPU = torch.device("cpu")
LONGEST = 32_768
"""Tables of rotary positions reach so far."""
ROWS, LENGTH = 2, 32
TRIAL_ROWS, TRIAL_LENGTH = 3, 48
MARGIN = 4
"""Some models count positions from behind the padding id, so not all are there to use."""
TOLERANCE = 0.1
"""Hidden states may differ by this share in length: bfloat16 differs by a hundredth, and a
conversion for the example's shape or mask alone by about one."""


def encoder_inputs(
    ids: NDArray[np.int64], places: NDArray[np.bool_], visible: NDArray[np.bool_]
) -> dict[str, NDArray[np.int64]]:
    """Return what a converted encoder is given, by name."""
    return {
        "input_ids": np.ascontiguousarray(ids),
        "attention_mask": visible.astype(np.int64),
        "places": np.flatnonzero(places),
    }


def example_inputs(model: Any, rows: int = ROWS, length: int = LENGTH) -> dict[str, Tensor]:
    """Return rows of which only the first has no padding, as long as the model reads."""
    length = min(length, _longest(model.config) - MARGIN)
    vocabulary = len(model.get_input_embeddings().weight)
    visible = np.ones((rows, length), dtype=bool)
    visible[1:, length // 2 :] = False
    ids = 1 + np.arange(rows * length).reshape(rows, length) % (vocabulary - 1)
    places = np.zeros_like(visible)
    places.flat[:KERNEL_BLOCK] = True
    given = encoder_inputs(ids, places, visible)
    return {name: torch.from_numpy(value) for name, value in given.items()}


def parts_to_convert(model: Any) -> tuple[EncoderPart, torch.nn.Module]:
    """Return the two parts of a model in PyTorch, as converters take them; it stays as it is."""
    own = copy_for_inference(model, CPU, torch.float32)
    choose_attention_to_convert(own)
    _tabulate_rotary_positions(own, _longest(own.config))
    return part(own, apart=heads_apart(model))


def _longest(config: Any) -> int:
    return min(int(getattr(config, "max_position_embeddings", None) or LONGEST), LONGEST)


class _RotaryTable(torch.nn.Module):
    """Rotary positions looked up in a table, which converters compute beforehand, in float32.

    Computed at run time in bfloat16, an angle of a few hundred radians is off by half of one.
    """

    def __init__(self, rotary: torch.nn.Module, longest: int) -> None:
        super().__init__()
        self.rotary = rotary
        self.register_buffer("positions", torch.arange(longest)[None])

    def forward(self, values: Tensor, position_ids: Tensor, *args: Any, **kwargs: Any) -> Any:
        tables = self.rotary(values, self.positions, *args, **kwargs)
        return tuple(table[0][position_ids] for table in tables)


def _tabulate_rotary_positions(model: torch.nn.Module, longest: int) -> None:
    """Exchange the modules that compute rotary positions for tables, in place."""
    for name, module in list(model.named_children()):
        takes = inspect.signature(module.forward).parameters
        if type(module).__name__.endswith("RotaryEmbedding") and "position_ids" in takes:
            setattr(model, name, _RotaryTable(module, longest))
        else:
            _tabulate_rotary_positions(module, longest)


@contextlib.contextmanager
def converting(runtime: str, model: Any) -> Iterator[None]:
    """Within, whatever goes wrong names the runtime, and nothing else is printed.

    Raises:
        ModelError: the runtime cannot take the model.

    """
    try:
        with torch.inference_mode(), quietly():
            yield
    except Exception as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ModelError(
            f"runtime: {runtime} cannot take this {model.config.model_type} model ({line}). Set "
            'runtime = "torch".'
        ) from error


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Within, neither progress bars nor warnings of converters reach the user."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def check_conversion(model: Any, encoder: EncoderPart, runtime: Runtime, name: str) -> None:
    """Compare a runtime with the encoder that was converted for it.

    Raises:
        ModelError: it computes something else.

    """
    given = example_inputs(model, TRIAL_ROWS, TRIAL_LENGTH)
    visible = given["attention_mask"].numpy().astype(bool)
    given["places"] = torch.from_numpy(np.flatnonzero(visible))
    with torch.inference_mode():
        expected = encoder(**given)
    with converting(name, model):  # what is tied to the example's shape may fail at another
        found = runtime.hidden_at(given["input_ids"].numpy(), visible, visible)
    if not (found - expected).norm() <= TOLERANCE * expected.norm():
        raise ModelError(
            f"runtime: {name} does not compute this {model.config.model_type} model as PyTorch "
            'does. Set runtime = "torch".'
        )
