"""How much cheaper is a training step while the encoder is frozen?

Frozen and thawed steps of the same scorer on the same batch, taken in turns, so that whatever
else the machine does falls on both.
"""

import statistics
import time

import record
import torch

from synthenticity.config import Config
from synthenticity.text.tokenization import build_character_tokenizer
from synthenticity.training.loss import scorer_loss
from synthenticity.training.model import build_scorer

ROUNDS = 30
SIZES = {
    "demo's model, 3 layers of 96": {"layers": 3, "hidden_size": 96, "intermediate_size": 192},
    "6 layers of 384": {"layers": 6, "hidden_size": 384, "intermediate_size": 1024},
}


def step_seconds(sizes: dict[str, int]) -> dict[bool, float]:
    """Return the median time of a thawed (False) and a frozen (True) step."""
    config = Config(block_size=257, attention_heads=2, **sizes)
    tokenizer = build_character_tokenizer([map(chr, range(32, 110))], block_size=257)
    torch.manual_seed(0)
    scorer = build_scorer(config, tokenizer).train()
    optimizer = torch.optim.AdamW(scorer.parameters(), lr=1e-4)
    ids = torch.randint(4, len(tokenizer), (8, 257))
    ids[:, 0] = tokenizer.cls_token_id
    labels = torch.randint(0, 3, ids.shape)
    labels[:, 0] = -100
    ratios = torch.rand(8)
    times: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(2 * ROUNDS):
        frozen = turn % 2 == 1
        scorer.freeze_encoder(frozen)
        start = time.perf_counter()
        optimizer.zero_grad()
        scorer_loss(scorer(ids), ratios, labels, mse_weight=10.0).backward()
        optimizer.step()
        times[frozen].append(time.perf_counter() - start)
    return {frozen: statistics.median(values[3:]) for frozen, values in times.items()}


def main() -> None:
    rows = []
    for name, sizes in SIZES.items():
        seconds = step_seconds(sizes)
        rows.append(
            {
                "model": name,
                "step, ms": round(seconds[False] * 1000, 1),
                "frozen step, ms": round(seconds[True] * 1000, 1),
                "frozen / thawed": round(seconds[True] / seconds[False], 2),
            }
        )
    record.write(
        "frozen_steps",
        title="Frozen steps are cheaper",
        command="python benchmarks/frozen_steps.py",
        about="One training step of a scorer (8 sequences of 257 tokens: forward, loss, backward, "
        f"optimizer), encoder thawed and frozen in turns, median of {ROUNDS}.",
        rows=rows,
    )


if __name__ == "__main__":
    main()
