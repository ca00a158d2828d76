"""Score every text file of a folder, the most machine-like first.

synthenticity demo
python examples/score_folder.py demo/scorer FOLDER
"""

import sys
from pathlib import Path

from synthenticity import Scorer


def main(run: str, folder: str) -> None:
    scorer = Scorer.from_pretrained(run)
    paths = sorted(Path(folder).glob("*.txt"))
    scores = scorer.score(path.read_text(encoding="utf-8") for path in paths)
    for path, score in sorted(
        zip(paths, scores, strict=True), key=lambda pair: -pair[1].synthenticity
    ):
        print(f"{score.synthenticity:.4f}  {path.name}")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) == 3 else __doc__)
