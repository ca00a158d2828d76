"""Documents in, filled documents out: every family, awkward text, long text, any batch."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families import CAUSAL, LENGTH, MASKED
from torture import TEXTS

from synthenticity.config import Config
from synthenticity.errors import ModelError
from synthenticity.recipe import Recipe
from synthenticity.synthesis import filling
from synthenticity.synthesis.filling import FilledDocument, Filler
from synthenticity.synthesis.filling_model import load_filling_model
from synthenticity.synthesis.splicing import SplicedText, restore
from synthenticity.synthesis.window_batches import FillingModelInUse, MaskedText, cut_windows
from synthenticity.text.reading import Document

ALL = [*MASKED, *CAUSAL]
LONG = 40_000
"""Characters; the longer of the awkward texts are left to the tests of splicing."""
DOCUMENTS = [Document(name, text) for name, text in TEXTS.items() if 0 < len(text) <= LONG]


def texts_for(name: str) -> list[Document]:
    """Return all awkward texts; a third of them for the slower models that write token by token."""
    return DOCUMENTS[::3] if name in CAUSAL else DOCUMENTS


def filler_of(folder: Path, *recipes: Recipe, **settings: Any) -> Filler:
    model = FillingModelInUse.of(load_filling_model(folder))
    return Filler({None: model}, recipes, seed=3, **settings)


def filled(filler: Filler, documents: list[Document]) -> list[FilledDocument]:
    results = filler.fill(documents, [0] * len(documents))
    return [item for item in results if isinstance(item, FilledDocument)]


def same(one: FilledDocument, other: FilledDocument) -> bool:
    """Compare every field."""
    pairs = [(getattr(one, name), getattr(other, name)) for name in vars(one)]
    return all(np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b for a, b in pairs)


@pytest.fixture(scope="module")
def known(family: Callable[[str], Path]) -> Callable[[str], tuple[Filler, list[FilledDocument]]]:
    """Give a family's filler and its records of the awkward texts, made once."""
    made: dict[str, tuple[Filler, list[FilledDocument]]] = {}

    def get(name: str) -> tuple[Filler, list[FilledDocument]]:
        if name not in made:
            filler = filler_of(family(name), Recipe(ratio=(0.0, 1.0)))
            made[name] = filler, filled(filler, texts_for(name))
        return made[name]

    return get


@pytest.mark.parametrize("name", ALL)
def test_every_family_fills_awkward_texts_truly(
    name: str, known: Callable[[str], tuple[Filler, list[FilledDocument]]]
) -> None:
    filler, records = known(name)
    texts = {document.id: document.text for document in DOCUMENTS}
    spelling = filler.models[None].spelling
    never = set(spelling.unwritable_ids.tolist()) | set(spelling.special_ids.tolist())
    assert len(records) > 0.5 * len(texts_for(name))
    written = 0
    for record in records:
        assert record.original == texts[record.id]
        parts = SplicedText(record.text, record.spans, *[np.zeros(0)] * 3)
        assert restore(parts) == record.original
        mask = (record.token_labels == 1) | (record.token_labels == 2)
        (tokens,) = spelling.tokenize([record.original])
        assert (record.token_ids[~mask] == tokens.ids[~mask]).all()
        assert not never & set(record.token_ids[mask].tolist())
        assert (record.log_probabilities <= 0).all() and np.isfinite(record.log_probabilities).all()
        assert (record.ranks >= 0).all()
        assert len(record.ranks) == mask.sum()
        assert (record.token_ends <= len(record.text)).all()
        written += int(mask.sum())
    assert written > 500


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("batch_size", [1, 7])
def test_every_family_fills_the_same_in_any_batch_and_order(
    name: str,
    batch_size: int,
    known: Callable[[str], tuple[Filler, list[FilledDocument]]],
    family: Callable[[str], Path],
) -> None:
    _, records = known(name)
    some = texts_for(name)[:: 9 if batch_size == 1 else 3][::-1]
    again = filled(filler_of(family(name), Recipe(ratio=(0.0, 1.0)), batch_size=batch_size), some)
    by_id = {record.id: record for record in records}
    assert len(again) > 5
    assert all(same(record, by_id[record.id]) for record in again)


@pytest.mark.parametrize("name", ["bert-cased", "roberta", "gpt2"])
def test_a_document_longer_than_the_model_is_filled_whole(
    name: str, family: Callable[[str], Path]
) -> None:
    text = " ".join(f"The keeper counted {n} ships." for n in range(400))
    filler = filler_of(family(name), Recipe(ratio=(1.0, 1.0)))
    (record,) = filled(filler, [Document("long", text)])
    assert len(record.token_ids) > 10 * LENGTH
    counted = record.token_labels[record.token_labels != -100]
    assert (counted > 0).all()
    assert (record.token_labels == 2).mean() > 0.5


@pytest.mark.parametrize("length", [1, 125, 126, 127, 500, 1000])
def test_windows_cover_a_text_and_show_what_stands_around(
    length: int, family: Callable[[str], Path]
) -> None:
    spelling = FillingModelInUse.of(load_filling_model(family("roberta"))).spelling
    (tokens,) = spelling.tokenize(["x" * length])
    tokens = dataclasses.replace(tokens, ids=np.arange(length))
    rng = np.random.default_rng(0)
    text = MaskedText.of(tokens, Recipe(), np.ones(length, dtype=bool), rng)
    windows = list(cut_windows(text, 126))
    cores = [place for w in windows for place in range(w.core_start, w.core_end)]
    assert cores == list(range(length))
    assert len({window.key for window in windows}) == len(windows)
    for window in windows:
        assert window.end - window.start <= 126
        assert window.start == 0 or window.core_start - window.start >= 126 // 8
        assert window.end == length or window.end - window.core_end >= 126 // 8


def test_a_model_that_reads_too_little_is_refused(family: Callable[[str], Path]) -> None:
    engine = load_filling_model(family("roberta"))
    engine.tokenizer.model_max_length = 24
    with pytest.raises(ModelError, match="reads 24 tokens at once"):
        FillingModelInUse.of(engine)
    engine.tokenizer.model_max_length = 32
    filler = Filler({None: FillingModelInUse.of(engine)}, (Recipe(ratio=(1.0, 1.0)),), seed=1)
    text = " ".join(f"The keeper counted {n} ships." for n in range(40))
    (record,) = filled(filler, [Document("a", text)])
    assert (record.ranks >= 0).all() and record.synthenticity == 1


def test_from_left_to_right_a_window_looks_back(family: Callable[[str], Path]) -> None:
    spelling = FillingModelInUse.of(load_filling_model(family("gpt2"))).spelling
    (tokens,) = spelling.tokenize(["x" * 500])
    tokens = dataclasses.replace(tokens, ids=np.arange(500))
    text = MaskedText.of(tokens, Recipe(), np.ones(500, dtype=bool), np.random.default_rng(0))
    windows = list(cut_windows(text, 112, left_to_right=True))
    assert [place for w in windows for place in range(w.core_start, w.core_end)] == [*range(500)]
    for window in windows:
        assert window.end == window.core_end
        assert window.start == 0 or window.core_start - window.start == 56


def test_ids_that_were_not_to_be_written_stay_so(family: Callable[[str], Path]) -> None:
    engine = load_filling_model(family("roberta"))
    engine.unwritable_ids = np.arange(300, 600)
    filler = Filler({None: FillingModelInUse.of(engine)}, (Recipe(ratio=(1.0, 1.0)),), seed=1)
    for record in filled(filler, DOCUMENTS[:40]):
        written = record.token_ids[record.token_labels > 0]
        assert not ((written >= 300) & (written < 600)).any()


def test_protected_spans_and_patterns_are_never_written(family: Callable[[str], Path]) -> None:
    text = "The keeper counted the ships. Call 555-1234 now, keeper of ships."
    recipe = Recipe(ratio=(1.0, 1.0))
    filler = filler_of(family("roberta"), recipe, protect=r"\d+-\d+")
    document = Document("a", text, protected=((4, 10),))
    (record,) = filled(filler, [document])
    assert "555-1234" in record.text
    assert record.text.count("keeper") >= 1
    outside = [span.original for span in record.spans]
    assert not any("555" in part or " keeper counted" in part for part in outside)
    assert record.synthenticity < 1


def test_recipes_of_rounds_and_forbidden_originals_are_obeyed(
    family: Callable[[str], Path],
) -> None:
    documents = DOCUMENTS[:60]
    forbid = filler_of(family("roberta"), Recipe(ratio=(0.5, 0.5), forbid_original=True))
    for record in filled(forbid, documents):
        mask = (record.token_labels == 1) | (record.token_labels == 2)
        (tokens,) = forbid.models[None].spelling.tokenize([record.original])
        assert (record.token_ids[mask] != tokens.ids[mask]).all()
    once = filled(filler_of(family("roberta"), Recipe(ratio=(0.5, 0.5))), documents)
    rounds = filled(filler_of(family("roberta"), Recipe(ratio=(0.5, 0.5), steps=4)), documents)
    assert any(a.text != b.text for a, b in zip(once, rounds, strict=True))


PINNED = {
    "owner/name@v2": ("owner/name", "v2"),
    "name": ("name", None),
    "runs/mlm@2": ("runs/mlm@2", None),  # a folder may hold the sign in its name
}


@pytest.mark.parametrize("path", PINNED)
def test_a_model_of_the_hub_may_be_pinned_to_a_revision(
    family: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    asked: list[Any] = []
    engine = load_filling_model(family("roberta"))

    def load(name: str, *, revision: str | None, **_: Any) -> Any:
        asked.append((name, revision))
        return engine

    (tmp_path / "runs" / "mlm@2").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(filling, "load_filling_model", load)
    Filler.from_config(Config(recipes=(Recipe(mlm_checkpoint_path=path), Recipe())), engine=engine)
    Filler.from_config(Config(mlm_checkpoint_path=path))
    assert asked == [PINNED[path]] * 2


def test_a_config_without_a_filling_model_is_refused() -> None:
    from synthenticity.errors import ConfigError

    with pytest.raises(ConfigError, match="mlm_checkpoint_path: not set"):
        Filler.from_config(Config())
