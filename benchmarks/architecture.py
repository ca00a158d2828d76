"""Which encoder learns most from the same minute of CPU?

Every architecture is a stock transformers one of about the same size, trained from scratch as a
character MLM on the plays of the MLM pool for the same CPU time, at each of two learning rates;
the better one counts. Figure: nats a masked character on held-out plays (val pool, 30 % masked).
"""

import argparse
import time
from typing import Any

import numpy as np
import record
import torch
from transformers import AutoConfig, AutoModelForMaskedLM

from synthenticity.config import Config
from synthenticity.providers.char_diffusion import CharDiffusionProvider
from synthenticity.seeding import numpy_rng
from synthenticity.synthesis.masked_head import masked_logits
from synthenticity.training.model import new_encoder_config

LENGTH, BATCH = 256, 4
LEARNING_RATES = (1e-3, 4e-3)
TESTED_SHARE, TESTED_WINDOWS = 0.3, 64
SIZE = {
    "num_hidden_layers": 3,
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_attention_heads": 2,
    "max_position_embeddings": LENGTH + 1,
}


def configurations(config: Config, tokenizer: Any) -> dict[str, Any]:
    """Return the candidates by name."""
    stock = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, **SIZE}
    return {
        "ModernBERT, two layers of window 8 under a global one (ours)": new_encoder_config(
            config, tokenizer
        ),
        "ModernBERT, all layers global": new_encoder_config(
            Config(block_size=LENGTH, attention_window=0), tokenizer
        ),
        "RoFormer": AutoConfig.for_model("roformer", embedding_size=96, **stock),
        "ConvBERT": AutoConfig.for_model("convbert", embedding_size=96, **stock),
        "BERT": AutoConfig.for_model("bert", **stock),
    }


def trained_nats(
    architecture: Any, provider: Any, rate: float, seconds: float
) -> tuple[float, int]:
    """Train for so much CPU time, and return held-out nats and the steps made."""
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(architecture).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98))
    started, step = time.process_time(), 0
    while (spent := time.process_time() - started) < seconds:
        share = spent / seconds
        optimizer.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / 50) * (1.0 - share)
        batch = provider.sample_batch("train", numpy_rng(0, "train", step, "benchmark"))
        loss = nats(model, batch["input_ids"], batch["labels"])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
    windows = provider.pools["val"].sample_windows(
        numpy_rng(0, "val", 0, "windows"), TESTED_WINDOWS
    )
    mask = numpy_rng(0, "val", 0, "mask").random(windows.ids.shape) < TESTED_SHARE
    inputs = np.where(mask, provider.tokenizer.mask_token_id, windows.ids)
    with torch.inference_mode():
        return float(nats(model.eval(), inputs, np.where(mask, windows.ids, -100))), step


def nats(model: Any, input_ids: Any, labels: Any) -> torch.Tensor:
    """Return the mean cross-entropy at the masked positions."""
    ids, targets = torch.as_tensor(input_ids), torch.as_tensor(labels)
    masked = targets != -100
    return torch.nn.functional.cross_entropy(masked_logits(model, ids, masked), targets[masked])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    torch.set_num_threads(1)  # threads that wait for each other count as CPU time, too
    parser.add_argument("--seconds", type=float, default=70, help="CPU time of each training")
    seconds = parser.parse_args().seconds
    config = Config(
        dataset="char_diffusion",
        split_by="balanced",
        block_size=LENGTH,
        batch_size=BATCH,
        corruption="mask",
    )
    provider = CharDiffusionProvider(config)
    rows = []
    for name, architecture in configurations(config, provider.tokenizer).items():
        tried = {
            rate: trained_nats(architecture, provider, rate, seconds) for rate in LEARNING_RATES
        }
        best = min(tried, key=lambda rate: tried[rate][0])
        rows.append(
            {
                "encoder": name,
                "nats": round(tried[best][0], 3),
                "steps": tried[best][1],
                "learning rate": best,
            }
        )
    record.write(
        "architecture",
        title="The character encoder",
        command="python benchmarks/architecture.py",
        about=f"Character MLMs of three layers of 96, trained from scratch on the MLM pool for "
        f"{seconds:g} CPU-seconds each on one thread ({BATCH} windows of {LENGTH} a step, "
        f"learning rate the better of {LEARNING_RATES[0]} and {LEARNING_RATES[1]}, linear decay). "
        f"Nats a masked character on the val pool at {TESTED_SHARE:.0%} masked; lower is better.",
        rows=rows,
    )


if __name__ == "__main__":
    main()
