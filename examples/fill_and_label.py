"""Let an MLM rewrite 40 % of a text, and say of every character what happened to it.

synthenticity demo
python examples/fill_and_label.py demo/mlm "To be, or not to be, that is the question."
"""

import sys

import numpy as np

from synthenticity import MLMInferenceEngine, create_synthetic_text

SIGNS = {0: ".", 1: "=", 2: "x"}


def main(checkpoint: str, text: str, seed: int = 1) -> None:
    engine = MLMInferenceEngine.from_pretrained(checkpoint)
    ids = np.array([engine.tokenizer(text, add_special_tokens=False)["input_ids"]])
    rng = np.random.default_rng(seed)
    mask = rng.random(ids.shape) < 0.4
    synthetic = create_synthetic_text(ids, mask, engine, rng, temperature=0.8)
    print(text)
    print(engine.tokenizer.decode(synthetic.ids[0]))
    print("".join(SIGNS[label] for label in synthetic.token_labels[0].tolist()))
    print(
        f"synthenticity {synthetic.synthenticity[0]:.3f}, "
        f"replaced {synthetic.replaced_fraction[0]:.3f}   (. original, = restored, x replaced)"
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) == 3 else __doc__)
