"""What a text of five million characters costs to score: memory, and the time of its tokenizer.

    python benchmarks/long_document.py DEMO [SUBWORD]

DEMO is the folder of a finished demo, SUBWORD that of a sub-word scorer. Each is measured in a
process of its own, which scores the same text at two lengths and writes it as JSON: what the longer
takes more is what a text costs. The scorers' encoders are replaced by ones of a single narrow
layer: a batch's memory does not depend on the text, and the time would say nothing of it.
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

import record

SHORT, LONG = 100_000, 5_000_000


def measure(run: Path, characters: int) -> dict[str, float]:
    """Score a text of so many characters; return tokens, and megabytes at most."""
    from transformers import BertConfig

    from synthenticity.scoring.scorer import Scorer
    from synthenticity.text.reading import SHAKESPEARE, CorpusSource, read_documents
    from synthenticity.text.tokenization import load_tokenizer, special_ids
    from synthenticity.training.sequence_scorer import SequenceScorer, SequenceScorerConfig

    tokenizer = load_tokenizer(run)
    settings = json.loads((run / "config.json").read_text(encoding="utf-8"))
    encoder = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=16,
        max_position_embeddings=settings["block_size"],
    )
    config = SequenceScorerConfig(
        encoder.to_dict(),
        block_size=settings["block_size"],
        special_token_ids=special_ids(tokenizer).tolist(),
    )
    scorer = Scorer(SequenceScorer(config), tokenizer)
    plays = read_documents(CorpusSource(source=SHAKESPEARE), on_rejected=print)
    text = "\n".join(play.text for play in plays)[:characters]
    score = scorer.score(text)
    written = sum(len(piece) for piece in score.iter_json())
    assert (score.offsets[1:, 0] >= score.offsets[:-1, 1]).all() and written
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"characters": len(text), "tokens": len(score.offsets), "megabytes": peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path)
    parser.add_argument("subword", type=Path, nargs="?")
    parser.add_argument("--characters", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.characters:
        print(json.dumps(measure(options.demo, options.characters)))
        return
    rows = []
    runs = {"characters": options.demo / "scorer", "sub-word": options.subword}
    for name, run in runs.items():
        if run is None:
            continue
        short, long = (
            json.loads(
                subprocess.run(
                    [sys.executable, __file__, str(run), "--characters", str(size)],
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout
            )
            for size in (SHORT, LONG)
        )
        more = long["megabytes"] - short["megabytes"]
        rows.append(
            {
                "tokens are": name,
                "characters": f"{long['characters']:,}",
                "tokens of them": f"{long['tokens']:,}",
                "MB at most": f"{long['megabytes']:.0f}",
                f"with {SHORT:,}": f"{short['megabytes']:.0f}",
                "bytes a character": f"{more * 2**20 / (long['characters'] - SHORT):.0f}",
            }
        )
    record.write(
        "long_document",
        title="The memory of a long document",
        command="python benchmarks/long_document.py DEMO SUBWORD",
        about="A text of Shakespeare's plays, scored at once and written as JSON with every token, "
        "span and sentence. What a model takes for a batch does not depend on the text; the models "
        "are narrow ones here.",
        rows=rows,
    )


if __name__ == "__main__":
    main()
