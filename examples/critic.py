"""Let a scorer improve a draft: which of its tokens are wrong, and do they get better?

A filling model writes half of a passage. Then the scorer, as a critic, has what looks wrong most
written again, for eight rounds. Random tokens, as many and as often, are the control: what is left
of the difference is the work of the critic. The models of the demo never saw Macbeth.

synthenticity demo
python examples/critic.py demo/scorer demo/mlm [FILE]
"""

import sys
from pathlib import Path

import numpy as np

import synthenticity
from synthenticity.scoring.critic import TokenCritic

PASSAGE = """Is this a dagger which I see before me,
The handle toward my hand? Come, let me clutch thee.
I have thee not, and yet I see thee still.
Art thou not, fatal vision, sensible
To feeling as to sight? or art thou but
A dagger of the mind, a false creation,
Proceeding from the heat-oppressed brain?
"""
ROUNDS = 8


def left_of(original: str, text: str) -> float:
    """Return the share of the characters that are the original's (of character models)."""
    return sum(a == b for a, b in zip(original, text, strict=False)) / len(original)


def main(run: str, checkpoint: str, file: str | None = None, seed: int = 1) -> None:
    passage = PASSAGE if file is None else Path(file).read_text(encoding="utf-8")
    critic = TokenCritic.from_pretrained(run)
    engine = synthenticity.load_filling_model(checkpoint)
    (record,) = synthenticity.fill([passage], model=engine, ratio=0.5, seed=seed)
    lots = np.random.default_rng(seed)
    refined, control = (
        critic.refine(
            record["text"], engine, rounds=ROUNDS, judge=judge, rng=np.random.default_rng(seed)
        )
        for judge in (None, lambda ids: lots.random(ids.shape))
    )
    print("                     critic             control")
    print("round  remasked   score  original   score  original")
    for ours, theirs in zip(refined.rounds, control.rounds, strict=True):
        print(f"{ours.number:5}  {ours.remasked:8}", end="")
        for each in (ours, theirs):
            print(f"   {each.score.synthenticity:.3f} {left_of(passage, each.text):9.3f}", end="")
        print()
    for name, text in {"draft": record["text"], "critic": refined.last.text}.items():
        print(f"\n{name}:\n{text}")
    print(f"\ncontrol:\n{control.last.text}")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) in (3, 4) else __doc__)
