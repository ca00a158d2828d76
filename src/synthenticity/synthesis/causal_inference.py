"""`CausalInferenceEngine`: any `AutoModelForCausalLM` as a filler, from left to right.

Each masked position is written after its own prefix, tokens written earlier included; what
follows it is not seen. A row's visible beginning is read at once, the rest one column a call
with a key-value cache. So that a row's bytes are a function of the row alone, what is read at
once ends where the row says (a multiple of 16 columns), and a single column is read of a multiple
of 16 rows: products of fewer are rounded otherwise where layers are not packed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from synthenticity.errors import CompatibilityError, ConfigError, ModelError
from synthenticity.runtimes.devices import resolve_dtype, torch_arithmetic
from synthenticity.runtimes.packing import can_pack, copy_for_inference, pack_linear_layers
from synthenticity.runtimes.runtime import KERNEL_BLOCK
from synthenticity.synthesis.checkpoints import CAUSAL
from synthenticity.synthesis.filling_engine import FillingEngine
from synthenticity.synthesis.masked_head import logits_at
from synthenticity.synthesis.rows import Fill, Rows

ATTENTION = "eager"
"""PyTorch's fused attention rounds a single query by the thread that computes it."""
KEY_VALUE_LAYERS = {"DynamicLayer", "DynamicSlidingWindowLayer"}
"""The kinds of layers of a cache that rows can be taken from."""


class CausalInferenceEngine(FillingEngine):
    """A pretrained left-to-right language model that writes tokens at masked positions.

    Args:
        model: any `AutoModelForCausalLM` with a key-value cache; put into evaluation mode.
        tokenizer: its fast tokenizer. Its start token (else its end token) is put before every
            row that does not begin with it.
        name: what records say wrote the tokens.
        settings: those of a `FillingEngine`; dtype int8 and other runtimes than torch are refused,
            and auto is float32 on a CPU.

    Raises:
        ConfigError: another runtime or dtype.
        ModelError: the tokenizer does not fit the model.

    """

    way = CAUSAL

    def __init__(
        self, model: Any, tokenizer: Any, *, name: str = "causal", **settings: Any
    ) -> None:
        super().__init__(model, tokenizer, name=name, **settings)
        start = tokenizer.bos_token_id
        self.start_token_id = tokenizer.eos_token_id if start is None else start

    def _open(self, device: torch.device, dtype: str, runtime: str) -> None:
        self.computing = copy_for_inference(
            self.model, device, _resolve_dtype(self.name, dtype, runtime, device)
        )
        self.computing.set_attn_implementation(ATTENTION)
        if can_pack(device):
            pack_linear_layers(self.computing, self.computing.dtype)

    @property
    def calibrated(self) -> bool:
        """It has no scales."""
        return True

    def calibrate(self, texts: Sequence[str]) -> None:
        """Do nothing: it is not computed in int8."""

    @property
    def device(self) -> torch.device:
        """Where logits are."""
        device: torch.device = self.computing.device
        return device

    @property
    def computed_by(self) -> str:
        """Runtime, version, device kind, dtype and how products are computed."""
        return torch_arithmetic(self.device, self.computing.dtype, packed=can_pack(self.device))

    @property
    def _tokens_in_front(self) -> int:
        return 0 if self.start_token_id is None else 1

    def _check(self, rows: Rows) -> None:
        super()._check(rows)
        if (rows.steps != 1).any() or (rows.order != "confident").any():
            raise ConfigError(
                f"steps, order: {self.name} writes from left to right, one token after another. "
                "Leave both out, or fill with a masked language model."
            )
        if (rows.visible[:, 1:] > rows.visible[:, :-1]).any():
            raise CompatibilityError(
                f"attention_mask: padding stands before text, and {self.name} reads from left to "
                "right. Pad on the right."
            )
        if self.start_token_id is None and rows.mask[:, :1].any():
            raise CompatibilityError(
                f"mask_positions: the first position is masked, and the tokenizer of {self.name} "
                "has no start or end token to put before it. Leave the first position unmasked."
            )

    def _kinds(self, rows: Rows) -> NDArray[Any]:
        """Part the rows that begin with the start token from those that get one."""
        if self.start_token_id is None:
            return np.ones(len(rows), dtype=bool)
        begins = (rows.ids[:, :1] == self.start_token_id) & ~rows.mask[:, :1]
        return np.asarray(begins.all(axis=1))

    def _fill_part(self, rows: Rows, opinion: bool) -> Fill:
        front = 0 if self._kinds(rows[:1])[0] else 1
        found = Fill.unwritten(rows.ids)
        ids = np.pad(rows.ids, ((0, 0), (front, 0)), constant_values=self.start_token_id or 0)
        mask = np.pad(rows.mask, ((0, 0), (front, 0)))
        batch = _Batch(self, ids, mask)
        for column in range(batch.first_column, batch.last_column):
            batch.form(column)
            row, logits = batch.read(column)
            if len(row):
                place = np.full(len(row), column + 1 - front)
                drawn = self._draw(logits.float(), rows, (row, place), opinion=opinion)
                tokens, probability, rank = (values.cpu().numpy() for values in drawn)
                found.put((row, place), (tokens, probability, rank))
                ids[row, column + 1] = tokens
        return found


class _Batch:
    """The rows that are being read, and their cache; made up anew every 16 columns.

    A row joins where its parallel beginning ends and leaves after its last masked position. The
    batch is filled up to a multiple of 16 with its first row.
    """

    def __init__(
        self, engine: CausalInferenceEngine, ids: NDArray[np.int64], mask: NDArray[np.bool_]
    ) -> None:
        self.engine, self.ids, self.mask = engine, ids, mask
        self.joins_at = (mask.argmax(axis=1) - 1) // KERNEL_BLOCK * KERNEL_BLOCK
        self.leaves_at = mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
        self.first_column, self.last_column = int(self.joins_at.min()), int(self.leaves_at.max())
        self.members = np.zeros(0, dtype=np.int64)
        self.places = self.members
        self.cache: Any = None

    def form(self, column: int) -> None:
        """Let rows leave and join, if it is time for that."""
        staying = np.nonzero(self.leaves_at[self.members] > column)[0]
        joining = np.nonzero(self.joins_at == column)[0]
        if column % KERNEL_BLOCK or (len(staying) == len(self.members) and not len(joining)):
            return
        caches = [(self.cache, staying)] if len(staying) else []
        if len(joining) and column:
            beginning = self._read_beginning(joining, column)
            caches.append((beginning, np.arange(len(joining))))
        self.members = np.concatenate([self.members[staying], joining])
        self.places = _filled_up(self.members)
        self.cache = self._joined(caches) if caches else None

    def read(self, column: int) -> tuple[NDArray[np.int64], torch.Tensor]:
        """Read a column; return the rows masked in the next one, and their logits there."""
        if not len(self.places):
            return self.places, torch.empty(0)
        wanted = self.mask[self.places, column + 1]
        wanted[len(self.members) :] = False
        inputs = {
            "input_ids": self._tensor(self.ids[self.places, column][:, None]),
            "past_key_values": self.cache,
            "use_cache": True,
        }
        model = self.engine.computing
        logits = torch.empty(0)
        if wanted.any():
            logits, output = logits_at(model, self._tensor(wanted[:, None]), **inputs)
        else:
            output = model.base_model(**inputs)
        self.cache = self._cache_of(output)
        return self.places[wanted], logits

    def _read_beginning(self, rows: NDArray[np.int64], columns: int) -> Any:
        """Return the cache of the first columns of rows, read at once."""
        inputs = self._tensor(self.ids[rows, :columns])
        return self._cache_of(self.engine.computing.base_model(input_ids=inputs, use_cache=True))

    def _cache_of(self, output: Any) -> Any:
        cache = getattr(output, "past_key_values", None)
        layers = getattr(cache, "layers", None) or [None]
        if not {type(layer).__name__ for layer in layers} <= KEY_VALUE_LAYERS:
            raise ModelError(
                f"{self.engine.name}: keeps no key-value cache, which filling from left to right "
                "needs. Give a decoder with attention in every layer."
            )
        return cache

    def _joined(self, caches: list[tuple[Any, NDArray[np.int64]]]) -> Any:
        """Return one cache of the chosen rows of several, filled up as the batch is."""
        rows = self._tensor(_filled_up(np.arange(len(self.members))))
        chosen = [(cache, self._tensor(index)) for cache, index in caches]
        first = caches[0][0]
        for number, layer in enumerate(first.layers):
            if not layer.is_initialized:  # it shares the keys and values of another
                continue
            for name in ("keys", "values"):
                parts = [getattr(cache.layers[number], name)[index] for cache, index in chosen]
                setattr(layer, name, torch.cat(parts)[rows])
        return first

    def _tensor(self, values: NDArray[Any]) -> torch.Tensor:
        return torch.as_tensor(values, device=self.engine.device)


def _resolve_dtype(name: str, dtype: str, runtime: str, device: torch.device) -> torch.dtype:
    """Return the dtype to compute in, or raise a `ConfigError` for what only masked models have."""
    if runtime not in ("auto", "torch"):
        raise ConfigError(
            f"runtime: {name} writes from left to right, which only torch computes here, not "
            f'{runtime}. Leave runtime out, or set runtime = "torch".'
        )
    if dtype == "int8":
        raise ConfigError(
            f"dtype: {name} writes from left to right, which is not computed in int8. Leave dtype "
            'out, or set dtype = "bfloat16".'
        )
    if dtype == "auto" and device.type == "cpu":
        return torch.float32
    return resolve_dtype(dtype, device)


def _filled_up(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows and then the first of them again, up to a multiple of 16."""
    return np.concatenate([rows, np.repeat(rows[:1], -len(rows) % KERNEL_BLOCK)])
