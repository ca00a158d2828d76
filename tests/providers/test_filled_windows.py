"""Scorer data of sub-word models: what the tokenizer makes of the final text, truly labelled."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from synthenticity.config import Config
from synthenticity.errors import ConfigError
from synthenticity.inspection import inspect_directory
from synthenticity.metrics import auroc
from synthenticity.providers.prepare import prepare
from synthenticity.providers.sequence_scorer import SequenceScorerProvider
from synthenticity.recipe import Recipe
from synthenticity.stream.batch_file import Columns
from synthenticity.stream.summary import StreamSummary
from synthenticity.text.tokenization import encode_texts
from synthenticity.training.train import train
from synthenticity.validation import validate_directory


@pytest.fixture(scope="session")
def prose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen documents of the prose that the families' tokenizers were trained on."""
    from families.prose import PROSE

    folder = tmp_path_factory.mktemp("prose")
    lines = PROSE if isinstance(PROSE, list) else PROSE.splitlines()
    for number in range(16):
        turned = lines[number:] + lines[:number]
        (folder / f"d{number}.txt").write_text("\n".join(turned * 3), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def config(tiny: Config, prose: Path, family: Callable[[str], Path]) -> Config:
    return dataclasses.replace(
        tiny,
        corpus=str(prose),
        near_duplicates=0.0,
        mlm_checkpoint_path=str(family("bert-cased")),
        batch_size=16,
    )


def made(config: Config) -> tuple[SequenceScorerProvider, Columns]:
    provider = SequenceScorerProvider(config)
    return provider, provider.make_file("train", 0)


@pytest.mark.parametrize("name", ["bert-cased", "roberta", "xlm-roberta", "mmbert"])
def test_ids_are_what_the_tokenizer_makes_of_the_final_text(
    config: Config, family: Callable[[str], Path], name: str
) -> None:
    provider, data = made(dataclasses.replace(config, mlm_checkpoint_path=str(family(name))))
    encodings = encode_texts(provider.tokenizer, data["text"].tolist())
    length = config.block_size - 1
    for row, encoding in zip(data["input_ids"], encodings, strict=True):
        ids = encoding.ids[:length]
        assert row[0] == provider.cls_token_id
        assert row[1 : 1 + len(ids)].tolist() == ids
        assert (row[1 + len(ids) :] == provider.tokenizer.pad_token_id).all()
    labels = data["token_labels"]
    assert (labels[data["input_ids"] == provider.tokenizer.pad_token_id] == -100).all()
    counted = (labels != -100).sum(axis=1)
    assert data["synthenticity"] == pytest.approx(((labels == 1) | (labels == 2)).sum(1) / counted)
    assert {0, 1, 2} <= set(labels.ravel().tolist()) or name != "bert-cased"
    assert (labels == 2).sum() > 100


def test_labels_follow_the_characters_of_the_text(config: Config) -> None:
    _, data = made(config)
    unchanged = data["replaced_fraction"] == 0
    assert (data["text"][unchanged] == data["original"][unchanged]).all()
    assert unchanged.any() and not unchanged.all()
    changed = data["text"] != data["original"]
    cut = (data["input_ids"] != 0).all(axis=1)  # what was replaced may lie behind the last token
    assert (data["replaced_fraction"][changed & ~cut] > 0).all()
    whole = data["recipe"] == "random 1 t1"
    assert whole.any()
    maskable = data["token_labels"][whole]
    assert (maskable[maskable >= 0] > 0).mean() > 0.8  # the rest fills up what became shorter


@pytest.mark.parametrize("name", ["bert-uncased", "roberta"])
def test_padding_gives_nothing_away(
    config: Config, family: Callable[[str], Path], name: str
) -> None:
    changed = dataclasses.replace(
        config,
        mlm_checkpoint_path=str(family(name)),
        batch_size=64,
        untouched_share=0.4,
        all_filled_share=0.0,
    )
    _, data = made(changed)
    summary = StreamSummary()
    summary.add(data)
    untouched = data["synthenticity"] == 0
    assert 40 < untouched.sum() < 160
    auroc = summary.padding_auroc()
    assert auroc is not None and abs(auroc - 0.5) < 0.1


def test_another_tokenizer_can_read_the_filled_text(
    config: Config, family: Callable[[str], Path]
) -> None:
    other = dataclasses.replace(config, tokenizer=str(family("roberta")))
    provider, data = made(other)
    assert provider.tokenizer.mask_token == "<mask>"
    texts = encode_texts(provider.tokenizer, data["text"].tolist())
    for row, encoding in zip(data["input_ids"], texts, strict=True):
        ids = encoding.ids[: config.block_size - 1]
        assert row[1 : 1 + len(ids)].tolist() == ids
    assert 0.1 < data["synthenticity"].mean() < 0.7


def test_several_models_write_one_set(config: Config, family: Callable[[str], Path]) -> None:
    paths = [str(family(name)) for name in ("bert-cased", "roberta", "gpt2")]
    recipes = tuple(
        Recipe(ratio=(0.5, 0.5), pattern="suffix", mlm_checkpoint_path=path) for path in paths
    )
    changed = dataclasses.replace(config, recipes=recipes, mlm_checkpoint_path=None)
    _, data = made(changed)
    assert {name.partition("@")[0] for name in data["mlm"].tolist()} == {
        Path(path).name for path in paths
    }


def test_several_models_share_one_store_of_rows(
    config: Config, family: Callable[[str], Path], tmp_path: Path
) -> None:
    recipes = tuple(
        Recipe(ratio=(0.5, 0.5), mlm_checkpoint_path=str(family(name)))
        for name in ("bert-cased", "roberta")
    )
    changed = dataclasses.replace(
        config, recipes=recipes, mlm_checkpoint_path=None, fill_cache_mib=0
    )
    _, alone = made(changed)
    stored = dataclasses.replace(changed, fill_cache_dir=str(tmp_path))
    for again in (False, True):
        provider, data = made(stored)
        assert all((data[name] == alone[name]).all() for name in data)
        hits = [model.engine.cache.hits for model in provider.filler.models.values()]
        assert [hit > 0 for hit in hits] == [again, again]


def test_a_file_does_not_depend_on_the_batch_it_was_filled_in(config: Config) -> None:
    provider, data = made(config)
    provider.filler.batch_size = 3
    again = provider.make_file("train", 0)
    assert all((data[name] == again[name]).all() for name in data)


def test_protected_text_stays(config: Config) -> None:
    protect = dataclasses.replace(
        config, protect="keeper", mask_probability_range=(1.0, 1.0), untouched_share=0.0
    )
    _, data = made(protect)
    counts = [
        sum(text.count("keeper") for text in data[name].tolist()) for name in ("original", "text")
    ]
    assert counts[0] > 0
    assert counts[1] >= counts[0]


def test_bert_corruption_is_refused(config: Config) -> None:
    with pytest.raises(ConfigError, match="corruption: bert is for character models"):
        SequenceScorerProvider(dataclasses.replace(config, corruption="bert"))


def test_a_scorer_trains_on_padded_sub_word_data(config: Config, tmp_path: Path) -> None:
    own = dataclasses.replace(
        config,
        data_dir=str(tmp_path / "data"),
        init_from_checkpoint=config.mlm_checkpoint_path,
        max_iters=4,
        eval_interval=2,
    )
    summary = prepare(own, files=2)
    assert 0 <= summary["reencoding_differs_share"] <= 1
    assert [check for check in validate_directory(tmp_path / "data") if not check.passed][1:] == []
    sample = inspect_directory(tmp_path / "data", count=1).samples[0]
    assert "".join(sample.final).strip() in sample.facts.get("text", "".join(sample.final))
    result = train(own, tmp_path / "run")
    assert result.steps == 4
    assert np.isfinite(result.metrics["mae"])


def test_most_ids_that_a_model_wrote_are_not_those_of_their_text(config: Config) -> None:
    """It is the reason for reading the text again; of untouched text nothing differs."""
    _, data = made(dataclasses.replace(config, batch_size=32))
    written = data["reencoding_differs"][data["replaced_fraction"] > 0]
    untouched = data["reencoding_differs"][data["synthenticity"] == 0]
    assert written.mean() > 0.5
    assert len(untouched) > 5 and not untouched.any()


def told_apart(texts: list[str], filled: np.ndarray, **features: object) -> float:
    """Return the AUROC of a cross-validated linear classifier on counted n-grams."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        CountVectorizer(lowercase=False, **features), LogisticRegression(C=0.1, max_iter=300)
    )
    scores = cross_val_predict(model, texts, filled, cv=5, method="decision_function")
    return auroc(scores, filled)


@pytest.mark.parametrize("name", ["bert-cased", "roberta"])
def test_token_pairs_tell_no_more_than_the_text_itself(
    config: Config, family: Callable[[str], Path], name: str
) -> None:
    """What a classifier sees in pairs of tokens, padding included, the characters show as well."""
    changed = dataclasses.replace(
        config,
        mlm_checkpoint_path=str(family(name)),
        batch_size=100,
        mask_probability_range=(0.03, 0.08),
        untouched_share=0.5,
        all_filled_share=0.0,
    )
    _, data = made(changed)
    filled = data["synthenticity"] > 0
    assert 60 < filled.sum() < 240
    ids = [" ".join(map(str, row)) for row in data["input_ids"].tolist()]
    by_pairs = told_apart(ids, filled, token_pattern=r"\d+", ngram_range=(1, 2))
    by_text = told_apart(data["text"].tolist(), filled, analyzer="char", ngram_range=(1, 4))
    assert by_text > 0.55  # there is something to be seen
    assert by_pairs < by_text + 0.05
