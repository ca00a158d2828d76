"""Writers that a scorer was not trained on: an n-gram model, and a small left-to-right one.

Both are made from the text of a token pool, and both write from left to right what is masked.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LlamaConfig, LlamaForCausalLM

from synthenticity.seeding import digest
from synthenticity.synthesis.filling_model import Fill
from synthenticity.text.token_pool import TokenPool
from synthenticity.text.tokenization import special_ids

LAYERS, WIDTH = 3, 128
STEPS, BATCH, RATE = 1500, 8, 3e-3


class NgramFiller:
    """Writes each masked token after the `order - 1` before it, as they were followed in a text.

    Where those never occurred, fewer decide. It is a `FillingModel` of its own kind.

    Args:
        texts: ids of documents.
        tokenizer: theirs.
        order: of the longest n-grams counted.

    """

    revision, mask_token_id, calibrated = None, None, True
    arithmetic = "numpy"

    def __init__(self, texts: list[NDArray[np.int64]], tokenizer: Any, order: int = 5) -> None:
        self.tokenizer, self.name = tokenizer, f"{order}-gram"
        self.special_ids = special_ids(tokenizer)
        self.unwritable_ids = np.zeros(0, dtype=np.int64)
        self.size = len(tokenizer)
        self.tables = [self._counted(texts, before) for before in range(order - 1, -1, -1)]
        self.fingerprint = digest(*(counts.tobytes() for _, counts in self.tables))

    def _counted(
        self, texts: list[NDArray[np.int64]], before: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the contexts of so many tokens, sorted, and how often each token followed."""
        keys = np.concatenate([self._keys(text, before)[: len(text) - before] for text in texts])
        following = np.concatenate([text[before:] for text in texts])
        contexts, index = np.unique(keys, return_inverse=True)
        counts = np.zeros((len(contexts), self.size))
        np.add.at(counts, (index, following), 1)
        counts[:, self.special_ids] = 0
        return contexts, counts

    def _keys(self, ids: NDArray[np.int64], before: int) -> NDArray[np.int64]:
        """Return a number for each run of so many tokens along the last axis."""
        key = np.zeros((*ids.shape[:-1], ids.shape[-1] - before + 1), dtype=np.int64)
        for shift in range(before):
            key = key * self.size + ids[..., shift : shift + key.shape[-1]]
        return key

    @property
    def longest_input(self) -> int:
        """Any length."""
        return 2**20

    def check_length(self, tokens: int) -> None:
        """Any length."""

    def calibrate(self, texts: Any) -> None:
        """It has no scales."""

    def predict_masked_tokens(
        self, input_ids: Any, mask_positions: Any, **sampling: Any
    ) -> NDArray[np.int64]:
        """Return the ids with the masked positions written."""
        return self.fill(input_ids, mask_positions, **sampling).ids

    def fill(
        self, input_ids: Any, mask_positions: Any, *, sequence_keys: Any, **_sampling: Any
    ) -> Fill:
        """Write from left to right, by chance that the rows' keys decide."""
        ids, mask = np.array(input_ids, dtype=np.int64), np.asarray(mask_positions, dtype=bool)
        rng = np.random.default_rng(np.abs(np.asarray(sequence_keys)))
        found = Fill.unwritten(ids)
        for column in range(ids.shape[1]):
            rows = np.flatnonzero(mask[:, column])
            if len(rows):
                chances = self._chances(ids[rows, :column])
                drawn = (rng.random(len(rows))[:, None] < chances.cumsum(axis=1)).argmax(axis=1)
                ids[rows, column] = found.ids[rows, column] = drawn
                found.rank[rows, column] = (
                    chances > chances[np.arange(len(rows)), drawn][:, None]
                ).sum(axis=1)
        return found

    def _chances(self, before: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the probability of each token `[rows, vocabulary]` after some `[rows, tokens]`."""
        chances = np.zeros((len(before), self.size))
        open_rows = np.ones(len(before), dtype=bool)
        for order, (contexts, counts) in zip(
            range(len(self.tables) - 1, -1, -1), self.tables, strict=True
        ):
            if order > before.shape[1]:
                continue
            keys = self._keys(before[:, before.shape[1] - order :], order)[:, 0]
            place = np.minimum(np.searchsorted(contexts, keys), len(contexts) - 1)
            counted = counts[place]
            known = open_rows & (contexts[place] == keys) & (counted.sum(axis=1) > 0)
            chances[known] = counted[known] / counted[known].sum(axis=1, keepdims=True)
            open_rows &= ~known
        return chances


def train_causal(pool: TokenPool, tokenizer: Any, folder: Path, *, length: int) -> None:
    """Train a small Llama on windows of a pool, and save it as a filling model."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=4,
            intermediate_size=2 * WIDTH,
            max_position_embeddings=length + 16,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.cls_token_id,
            eos_token_id=tokenizer.cls_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        ids = torch.from_numpy(pool.sample_windows(rng, BATCH).ids.astype(np.int64))
        ids = torch.nn.functional.pad(ids, (1, 0), value=tokenizer.cls_token_id)
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.save_pretrained(folder)
    tokenizer.bos_token = tokenizer.cls_token
    tokenizer.model_max_length = model.config.max_position_embeddings
    tokenizer.save_pretrained(folder)
