"""Learn from texts of people and of machines which of other texts a machine wrote.

pip install "synthenticity[eval]" && synthenticity demo
python examples/classifier.py demo/scorer HUMAN_FOLDER MACHINE_FOLDER FOLDER
"""

import sys
from pathlib import Path

from sklearn.model_selection import cross_val_score

from synthenticity.scoring.classifier import SyntheticTextClassifier


def read(folder: str) -> dict[str, str]:
    paths = sorted(Path(folder).glob("*.txt"))
    return {path.name: path.read_text(encoding="utf-8") for path in paths}


def main(run: str, human: str, machine: str, folder: str) -> None:
    people, machines, others = read(human), read(machine), read(folder)
    texts = [*people.values(), *machines.values()]
    labels = [0] * len(people) + [1] * len(machines)
    classifier = SyntheticTextClassifier(run)
    told_apart = cross_val_score(classifier, texts, labels, cv=3).mean()
    print(f"{told_apart:.3f} of the texts are told apart, cross-validated")
    probabilities = classifier.fit(texts, labels).predict_proba(others.values())[:, 1]
    for name, probability in zip(others, probabilities, strict=True):
        print(f"{probability:.3f}  {name}")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) == 5 else __doc__)
