"""How much do scores differ that are computed in bfloat16?

    python benchmarks/score_arithmetic.py demo

Windows of text that nothing was trained on, in the demo's directory, scored in both.
"""

import argparse
from pathlib import Path

import numpy as np
import record

from synthenticity.evaluation.sequences import sequences_of
from synthenticity.scoring.scorer import Score, Scorer
from synthenticity.stream.dataset_consumer import DatasetConsumer


def ranks(values: np.ndarray) -> np.ndarray:
    """Return the rank of each value; equal ones as they come."""
    return np.argsort(np.argsort(values, kind="stable"), kind="stable").astype(np.float64)


def compared(name: str, exact: np.ndarray, fast: np.ndarray) -> dict[str, object]:
    """Return how far values are from the exact ones."""
    difference = np.abs(exact - fast)
    return {
        "what": name,
        "count": len(exact),
        "mean difference": f"{difference.mean():.1e}",
        "largest": f"{difference.max():.1e}",
        "rank correlation": f"{np.corrcoef(ranks(exact), ranks(fast))[0, 1]:.6f}",
        "spread of the values": f"{exact.std():.3f}",
        "distinct values": len(np.unique(fast)),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("demo", type=Path)
    folder = parser.parse_args().demo
    data = DatasetConsumer(
        str(folder / "scorer_data"),
        batch_size=1,
        split="test",
        columns=["input_ids", "synthenticity"],
    ).read_all()
    rows = []
    for run in ("scorer", "plan_recipe"):
        said: list[list[Score]] = []
        for dtype in ("float32", "bfloat16"):
            scorer = Scorer.from_pretrained(folder / run, dtype=dtype)
            said.append(scorer.score(sequences_of(data, scorer.tokenizer).texts))
        exact, fast = (np.array([score.synthenticity for score in scores]) for scores in said)
        rows.append(compared(f"{run}: synthenticity", exact, fast))
        errors = [np.abs(values - data["synthenticity"]).mean() for values in (exact, fast)]
        rows[-1] |= {"MAE, float32": f"{errors[0]:.5f}", "MAE, bfloat16": f"{errors[1]:.5f}"}
        if said[0][0].probabilities is not None:
            tokens = [np.concatenate([score.probabilities for score in scores]) for scores in said]
            rows.append(compared(f"{run}: token probability", *tokens))
            rows[-1] |= {"MAE, float32": "", "MAE, bfloat16": ""}
    record.write(
        "score_arithmetic",
        title="Scores in bfloat16",
        command="python benchmarks/score_arithmetic.py demo",
        about="Held-out windows of the demo (256 characters, human and partly rewritten), scored "
        "with the encoder in float32 and in bfloat16; the heads are float32 in both.",
        rows=rows,
    )


if __name__ == "__main__":
    main()
