"""Does a critic improve a draft, or only its own opinion of it? Measured beside controls.

    python benchmarks/critic.py DEMO

DEMO is the folder of a finished demo. Windows of its test split are half filled by its filling
model: the drafts. Each way of improving them takes back as many tokens, in as many rounds. What the
scorer says is what a critic optimises, so it stands beside what it does not: the original tokens,
what the filling model thinks of each token, and whether the words are words.
"""

import argparse
import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import record
import torch

from synthenticity.config import Config
from synthenticity.config_file import load_config
from synthenticity.evaluation.bootstrap import Resamples
from synthenticity.providers.pools import open_corpus
from synthenticity.recipe import Recipe
from synthenticity.scoring.critic import TokenCritic
from synthenticity.scoring.id_rows import IdRows, score_rows
from synthenticity.seeding import numpy_rng
from synthenticity.stream.dataset_consumer import DatasetConsumer
from synthenticity.synthesis.likelihood import token_likelihoods
from synthenticity.synthesis.masking import mask_rows
from synthenticity.synthesis.mlm_inference import MLMInferenceEngine
from synthenticity.synthesis.synthetic_generation import create_synthetic_text

WINDOWS, RATIO, SEED = 50, 0.5, 1
ROUNDS, SHARE = 8, 0.1
PASSES = 8
WORD = re.compile(r"[a-z']{3,}")
Ids = np.ndarray
Judge = Callable[[Ids], np.ndarray]


def originals_of(config: Config) -> tuple[Ids, np.ndarray]:
    """Return windows `[windows, length]` of the test split before any filling, and their plays."""
    columns = ("original_ids", "document")
    data = DatasetConsumer(config.data_dir, batch_size=1, split="test", columns=columns).read_all()
    chosen = np.linspace(0, len(data["document"]) - 1, WINDOWS).astype(int)
    return data["original_ids"][chosen, 1:].astype(np.int64), data["document"][chosen]


def words_of_other_plays(config: Config, plays: set[str]) -> set[str]:
    """Return the words of three letters or more that occur twice in all other plays."""
    corpus, found = open_corpus(config), Counter[str]()
    for number in range(len(corpus)):
        if corpus.names.read(number) not in plays:
            found.update(WORD.findall(corpus.texts.read(number).lower()))
    return {word for word, count in found.items() if count > 1}


@dataclass
class Judged:
    """Drafts, and all that is needed to say what became of them."""

    critic: TokenCritic
    mlm: MLMInferenceEngine
    original: Ids
    filled: np.ndarray
    words: set[str]
    resamples: Resamples

    def log_probabilities(self, ids: Ids, passes: int) -> np.ndarray:
        """Return what the filling model thinks of each token, given the others, in nats."""
        tokens = torch.from_numpy(ids)
        found = token_likelihoods(
            self.mlm.model,
            tokens,
            torch.ones_like(tokens, dtype=torch.bool),
            passes=passes,
            mask_token_id=self.mlm.mask_token_id,
            never=torch.from_numpy(self.mlm.special_ids),
        )
        return found[..., 0].numpy()

    def known_words(self, ids: Ids) -> np.ndarray:
        """Return the share `[windows]` of the whole words of each window that other plays have."""
        shares = []
        for text in self.mlm.tokenizer.batch_decode(ids):
            found = WORD.findall(text.lower())[1:-1]
            shares.append(np.mean([word in self.words for word in found]) if found else np.nan)
        return np.array(shares)

    def row(self, name: str, ids: Ids, *, taken: float | None = None) -> dict[str, str]:
        """Return a line of the table."""
        same = ids == self.original
        kept = (same & ~self.filled).sum(axis=1) / (~self.filled).sum(axis=1)
        found = (same & self.filled).sum(axis=1) / self.filled.sum(axis=1)
        said = score_rows(self.critic.scorer, IdRows.of(ids, self.mlm.tokenizer)).synthenticity
        line = {
            "": name,
            "tokens taken back": "" if taken is None else f"{taken:.0f}",
            "the scorer says": self._sure(said, 3),
            "tokens as in the original": self._sure(same.mean(axis=1), 3),
            "of the filled": self._sure(found, 3),
            "of the human": self._sure(kept, 3),
            "nats a token": self._sure(self.log_probabilities(ids, PASSES).mean(axis=1), 2),
            "words that are words": self._sure(self.known_words(ids), 3),
        }
        print(line, flush=True)
        return line

    def _sure(self, values: np.ndarray, digits: int) -> str:
        interval = self.resamples.interval_of_mean(values)
        assert interval is not None
        low, high = interval
        return f"{np.nanmean(values):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def refined_rows(judged: Judged, draft: Ids) -> list[dict[str, str]]:
    """Refine the drafts in each way."""

    def doubt(ids: Ids) -> np.ndarray:
        return -judged.log_probabilities(ids, passes=4)

    def lots(favoured: np.ndarray | float = 0.0) -> Judge:
        rng = numpy_rng(SEED, "critic", 0, "lots")
        return lambda ids: rng.random(ids.shape) + favoured

    ways: dict[str, dict[str, Any]] = {
        "random tokens (the control)": {"judge": lots()},
        "**the critic**": {},
        "the filling model's own doubt": {"judge": doubt},
        "only filled tokens, at random (told which)": {"judge": lots(judged.filled)},
        "random tokens, written at temperature .7": {
            "judge": lots(),
            "recipe": Recipe(temperature=0.7),
        },
        "the critic, written at temperature .7": {"recipe": Recipe(temperature=0.7)},
        "the critic, a first share of .5": {"share": 0.5},
    }
    lines = []
    for name, options in ways.items():
        rng = numpy_rng(SEED, "critic", 0, "rounds")
        asked = {"rounds": ROUNDS, "share": SHARE} | options
        refined = judged.critic.refine(draft, judged.mlm, rng=rng, **asked)
        taken = refined.remasked.sum(axis=0).mean()
        lines.append(judged.row(name, refined.ids[-1], taken=taken))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path, help="folder of a finished demo")
    demo = parser.parse_args().demo
    config = load_config(demo / "scorer.toml")
    critic = TokenCritic.from_pretrained(demo / "scorer", device="cpu")
    mlm = MLMInferenceEngine.from_pretrained(demo / "mlm", device="cpu", dtype="float32")
    original, plays = originals_of(config)
    everywhere = np.ones(original.shape, dtype=bool)
    rng = numpy_rng(SEED, "critic", 0, "drafts")
    filled = mask_rows(Recipe(), np.full(len(original), RATIO), everywhere, rng)
    draft = create_synthetic_text(original, filled, mlm, rng).ids
    in_rounds = create_synthetic_text(original, filled, mlm, rng, steps=1 + ROUNDS).ids
    words = words_of_other_plays(config, set(plays.tolist()))
    judged = Judged(critic, mlm, original, filled, words, Resamples(plays.tolist()))
    rows = [
        judged.row("the original", original),
        judged.row("the draft", draft),
        judged.row(f"no critic: filled in {1 + ROUNDS} rounds from the start", in_rounds),
        *refined_rows(judged, draft),
    ]
    record.write(
        "critic",
        title="What a critic makes of a draft, beside controls",
        command="python benchmarks/critic.py DEMO",
        about=f"{len(original)} windows of {original.shape[1]} characters of "
        f"{len(set(plays.tolist()))} plays that nothing was trained on, {RATIO:.0%} filled by the "
        f"demo's character model in one go; then {ROUNDS} rounds, the first of which takes back "
        f"{SHARE:.0%} of the tokens unless stated, each way as many and with the same noise; the "
        "last round is shown, the best is not chosen. *The scorer says* is what the critic "
        "optimises. Nats a token: the filling model's pseudo-log-likelihood, higher is likelier. "
        "Words: of three letters or more, that occur at least twice in the other plays. 95 % "
        "intervals over plays.",
        rows=rows,
    )


if __name__ == "__main__":
    main()
