"""A scorer as an estimator of scikit-learn, and as the detector that benchmarks call."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from synthenticity.config import Config
from synthenticity.errors import ConfigError, CorpusError, ModelError
from synthenticity.scoring.classifier import SyntheticTextClassifier
from synthenticity.scoring.scorer import Scorer
from synthenticity.stream.dataset_consumer import DatasetConsumer


@pytest.fixture(scope="module")
def labelled(scorer_config: Config) -> tuple[list[str], np.ndarray]:
    """Texts of the scorer's own data, and whether anything of them was filled."""
    columns = DatasetConsumer(
        scorer_config.data_dir, batch_size=1, split="train", columns=["input_ids", "synthenticity"]
    ).read_all()
    from synthenticity.text.tokenization import load_tokenizer

    tokenizer = load_tokenizer(scorer_config.mlm_checkpoint_path)
    texts = ["".join(tokenizer.convert_ids_to_tokens(row[1:])) for row in columns["input_ids"]]
    labels = (columns["synthenticity"] > 0).astype(int)
    assert min(np.bincount(labels, minlength=2)) >= 2
    return texts, labels


@pytest.fixture(scope="module")
def human(labelled: tuple[list[str], np.ndarray]) -> list[str]:
    texts, labels = labelled
    return [text for text, label in zip(texts, labels, strict=True) if label == 0]


def test_it_is_a_logistic_regression_on_the_scorers_logit(
    scorer_path: Path, labelled: tuple[list[str], np.ndarray]
) -> None:
    texts, labels = labelled
    classifier = SyntheticTextClassifier(scorer_path, device="cpu").fit(texts, labels)
    logits = np.array(
        [s.logit for s in Scorer.from_pretrained(scorer_path, device="cpu").score(texts)]
    )
    expected = LogisticRegression().fit(logits[:, None], labels)
    assert np.allclose(classifier.predict_proba(texts), expected.predict_proba(logits[:, None]))
    assert np.array_equal(classifier.predict(texts), expected.predict(logits[:, None]))
    assert classifier.classes_.tolist() == [0, 1]
    assert np.allclose(classifier.predict_proba(texts).sum(axis=1), 1)
    above = logits > classifier.threshold_
    assert np.array_equal(
        above if classifier.model_.coef_ > 0 else ~above, classifier.predict(texts) == 1
    )


def test_human_texts_alone_give_a_threshold_and_no_probability(
    scorer_path: Path, human: list[str]
) -> None:
    texts = (human * 20)[:19]
    texts = [text[number % 7 :] for number, text in enumerate(texts)]
    classifier = SyntheticTextClassifier(scorer_path, device="cpu", fpr=0.1)
    classifier.fit(texts, [0] * len(texts))
    assert classifier.predict(texts).sum() <= 1  # one in ten of the next
    assert np.array_equal(classifier.predict(texts) == 1, classifier.decision_function(texts) > 0)
    with pytest.raises(CorpusError, match="tell a threshold and no probability"):
        classifier.predict_proba(texts)
    with pytest.raises(CorpusError, match=r"fpr = 0.01: needs at least 99 human texts, got 19"):
        SyntheticTextClassifier(scorer_path).fit(texts, [0] * len(texts))


def test_it_is_an_estimator_like_others(
    scorer_path: Path, labelled: tuple[list[str], np.ndarray]
) -> None:
    texts, labels = labelled
    new = SyntheticTextClassifier(scorer_path, device="cpu", fpr=0.05)
    for copy in (clone(new), pickle.loads(pickle.dumps(new))):
        assert copy.get_params() == new.get_params()
        with pytest.raises(NotFittedError):
            copy.predict(texts)
    assert cross_val_score(new, texts, labels, cv=2).shape == (2,)
    line = Pipeline([("strip", FunctionTransformer(tidied)), ("say", new)]).fit(texts, labels)
    assert line.predict(pd.Series(texts)).shape == (len(texts),)
    assert 0 <= line.score(texts, labels) <= 1
    fitted = clone(new).fit(texts, labels)
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.decision_function(texts), fitted.decision_function(texts))


def tidied(texts: Any) -> list[str]:
    return [text.strip() for text in texts]


@pytest.mark.parametrize(
    ("texts", "labels", "why"),
    [
        (["the king", "the fool"], [0], r"y: must hold a 0 .* for each of 2 texts"),
        (["the king", "the fool"], ["human", "machine"], "y: must hold a 0"),
        (["the king", "the fool"], [1, 1], "y: holds no human text"),
        ([], [], "y: holds no human text"),
        (["the king", ""], [0, 1], r"text 1 \(''\): holds no token"),
        (["the king", "\u05e9\u05dc"], [0, 1], r"text 1 .*: holds no token that the scorer knows"),
        ("the king", [0], "texts: is one string"),
    ],
)
def test_what_cannot_be_learned_from_is_named(
    texts: Any, labels: Any, why: str, scorer_path: Path
) -> None:
    with pytest.raises(CorpusError, match=why):
        SyntheticTextClassifier(scorer_path, device="cpu").fit(texts, labels)


def test_a_text_without_known_tokens_is_named_when_it_is_asked_about(
    scorer_path: Path, labelled: tuple[list[str], np.ndarray]
) -> None:
    classifier = SyntheticTextClassifier(scorer_path, device="cpu").fit(*labelled)
    with pytest.raises(CorpusError, match=r"text 1 \(''\): holds no token"):
        classifier.predict(["the king", ""])


def test_texts_that_the_scorer_abstains_of_are_answered_with_one_warning(
    scorer_path: Path, labelled: tuple[list[str], np.ndarray]
) -> None:
    classifier = SyntheticTextClassifier(scorer_path, device="cpu").fit(*labelled)
    texts = ["the king and his fool", "t", "a", "the king \u05e9\u05dc\u05d5\u05dd"]
    expected = r"abstains of 3 of 4 texts.*\(2 too short; 1 wrong alphabet for this scorer\)"
    for ask in (classifier.predict, classifier.predict_proba, classifier.decision_function):
        with pytest.warns(UserWarning, match=expected) as warned:
            assert np.isfinite(ask(texts)).all()
        assert len(warned) == 1
    with pytest.warns(UserWarning, match="abstains of 3 of 4 texts"):
        clone(classifier).fit(texts, [0, 1, 0, 1])


def test_it_says_which_texts_the_scorer_abstains_of_and_why(scorer_path: Path) -> None:
    texts = ["the king and his fool", "t", "", "\u05e9\u05dc\u05d5\u05dd"]
    reasons = SyntheticTextClassifier(scorer_path, device="cpu").abstained(texts)
    scores = Scorer.from_pretrained(scorer_path, device="cpu").score(texts)
    assert reasons == [score.abstained for score in scores]
    assert [reason and reason.partition(":")[0] for reason in reasons] == [
        None,
        "too short",
        "is empty",
        "mostly unknown tokens",
    ]


def test_wrong_settings_are_refused(scorer_path: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fpr: 1 is not between"):
        SyntheticTextClassifier(scorer_path, fpr=1).fit(["the king"], [0])
    with pytest.raises(ModelError):
        SyntheticTextClassifier(tmp_path).fit(["the king", "a fool"], [0, 1])


def test_a_missing_extra_is_named(scorer_path: Path) -> None:
    program = (
        "import sys; sys.modules |= dict.fromkeys(('sklearn', 'sklearn.base'))\n"
        "import synthenticity.scoring.scorer\n"
        "try:\n    import synthenticity.scoring.classifier\n"
        "except synthenticity.MissingExtraError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert 'pip install "synthenticity[eval]"' in done.stdout


def run_detection(
    detector: Callable[[Any], list[float]], frame: pd.DataFrame, *, as_list: bool
) -> Any:
    """Do what the benchmark RAID's `run_detection` does: ask for all at once, keep id and score.

    Its versions hand over the column, or a list of it.
    """
    scores = frame[["id"]].copy()
    texts = frame["generation"]
    scores["score"] = detector(texts.tolist() if as_list else texts)
    return scores[["id", "score"]].to_dict(orient="records")


@pytest.mark.parametrize("as_list", [True, False])
def test_a_scorer_is_a_detector_as_raid_asks_for_one(
    as_list: bool, scorer_path: Path, labelled: tuple[list[str], np.ndarray]
) -> None:
    texts, _ = labelled
    frame = pd.DataFrame({"id": [f"t{n}" for n in range(len(texts))], "generation": texts})
    scorer = Scorer.from_pretrained(scorer_path, device="cpu")
    found = run_detection(scorer, frame, as_list=as_list)
    assert [each["id"] for each in found] == frame["id"].tolist()
    assert [each["score"] for each in found] == [scorer.score(text).synthenticity for text in texts]
    assert all(type(each["score"]) is float for each in found)
    assert len({each["score"] for each in found}) == len(set(texts))
