"""Each leak alarm rings for a leak that was planted, and is silent on honest data."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthenticity.config import Config
from synthenticity.evaluation.baselines import NgramRidgeBaseline
from synthenticity.evaluation.leaks import (
    EXPLAINED,
    HUMAN_COLUMNS,
    LeakAlarm,
    ends_alone,
    human_texts,
    leak_alarms,
    length_alone,
    shared_text,
    shuffled_labels,
    untouched_is_the_original,
    untouched_scores_human,
    untouched_scores_lowest,
)
from synthenticity.evaluation.sequences import COLUMNS, Sequences, sequences_of
from synthenticity.stream.dataset_consumer import DatasetConsumer
from synthenticity.text.tokenization import load_tokenizer

LETTERS = np.array(list("etaoinshrdlu "))
CLS, PAD, LENGTH = 1, 0, 120
STOCK = "all rights reserved no part of this work may be copied by anybody at all"
"""Fifteen words."""


class Characters:
    """A tokenizer whose ids are code points."""

    def batch_decode(self, ids: list[list[int]], **_settings: Any) -> list[str]:
        return ["".join(chr(one) for one in row if one > CLS) for row in ids]


def words(rng: np.random.Generator, count: int) -> str:
    """Return random words of random letters."""
    return " ".join(
        "".join(rng.choice(LETTERS[:-1], length)) for length in rng.integers(2, 7, count)
    )


def ids_of(texts: list[str]) -> np.ndarray:
    longest = max(map(len, texts))
    rows = [[CLS, *map(ord, text), *[PAD] * (longest - len(text))] for text in texts]
    return np.array(rows)


def labelled(
    originals: list[str], ratios: np.ndarray, rng: np.random.Generator, favourite: str = ""
) -> Sequences:
    """Return texts in which masked characters were written anew: any, or always the favourite."""
    before = ids_of(originals)
    masked = (rng.random(before.shape) < ratios[:, None]) & (before > CLS)
    written = np.vectorize(ord)(rng.choice(list(favourite) or LETTERS, before.shape))
    after = np.where(masked, written, before)
    labels = np.where(masked, np.where(after == before, 1, 2), 0)
    labels[before <= CLS] = -100
    counted = (labels >= 0).sum(axis=1)
    columns = {
        "input_ids": after,
        "original_ids": before,
        "token_labels": labels.astype(np.int8),
        "synthenticity": masked.sum(axis=1) / counted,
        "document": np.array([f"play {number % 8}" for number in range(len(ratios))]),
    }
    return Sequences(columns, Characters().batch_decode(after.tolist()))


def drawn_ratios(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return ratios as the default mixture has them."""
    return np.where(rng.random(count) < 0.2, 0.0, rng.uniform(0.1, 0.9, count))


def honest(count: int, seed: int, **settings: Any) -> Sequences:
    rng = np.random.default_rng(seed)
    originals = [words(rng, 40)[:LENGTH] for _ in range(count)]
    return labelled(originals, drawn_ratios(count, rng), rng, **settings)


def without_originals(sequences: Sequences) -> Sequences:
    columns = {name: sequences.columns[name] for name in COLUMNS}
    return dataclasses.replace(sequences, columns=columns)


def joined(some: Sequences, others: Sequences) -> Sequences:
    columns = {
        name: np.concatenate([values, others.columns[name]])
        for name, values in some.columns.items()
    }
    return Sequences(columns, some.texts + others.texts)


def shared(train: Sequences, test: Sequences) -> LeakAlarm:
    return shared_text(human_texts(train, Characters()), human_texts(test, Characters()))


@pytest.fixture(scope="module")
def train() -> Sequences:
    return honest(600, 0)


@pytest.fixture(scope="module")
def test() -> Sequences:
    return honest(200, 1)


def test_nothing_rings_on_honest_data(train: Sequences, test: Sequences) -> None:
    said = NgramRidgeBaseline().fit(train).predict(test)
    alarms = leak_alarms(train, test, said, Characters(), human_limit=0.3)
    assert [alarm.name for alarm in alarms if alarm.rings] == []
    assert None not in [alarm.value for alarm in alarms]
    assert len({alarm.name for alarm in alarms}) == len(alarms) == 7
    written = json.loads(json.dumps([alarm.to_json() for alarm in alarms]))
    assert set(written[0]) == {"name", "rings", "value", "limit", "sentence"}


def test_data_sets_as_they_are_made_are_read(scorer_config: Config) -> None:
    directory = Path(scorer_config.data_dir)
    tokenizer = load_tokenizer(directory / "tokenizer")

    def read(split: str) -> Sequences:
        consumer = DatasetConsumer(directory, batch_size=1, split=split)
        held = [name for name in HUMAN_COLUMNS if name in consumer.meta.schema.names()]
        consumer.choose_columns([*COLUMNS, *held])
        return sequences_of(consumer.read_all(), tokenizer)

    test = read("test")
    alarms = leak_alarms(read("train"), test, test.ratios, tokenizer)
    found = {alarm.name: alarm for alarm in alarms}
    assert not found["untouched is the original"].rings
    assert not found["length alone"].rings
    assert not found["ends alone"].rings
    assert not found["shared text"].rings


def test_test_documents_copied_into_training_ring(train: Sequences, test: Sequences) -> None:
    """Even if the copy is filled at other places, and only 2 % of the test windows are copied."""
    rng = np.random.default_rng(5)
    few = human_texts(test.taken(np.arange(4)), Characters())
    copied = joined(train, labelled(few, np.full(4, 0.9), rng))
    alarm = shared(copied, test)
    assert alarm.value == 4 / 200
    assert alarm.rings
    assert not shared(train, test).rings


@pytest.mark.parametrize("start", [0, LENGTH // 3])
def test_windows_that_overlap_by_most_with_other_case_and_spaces_ring(
    start: int, test: Sequences
) -> None:
    own = human_texts(test, Characters())
    other = [text[start:].upper().replace(" ", "\n ") for text in own]
    assert shared_text(other, own).value == 1.0
    assert shared_text([" ".join(text.split()[:12]) for text in own], own).value == 0.0


def test_a_copy_with_every_twentieth_word_changed_rings() -> None:
    rng = np.random.default_rng(9)
    own = [words(rng, 60) for _ in range(20)]
    split = [text.split() for text in own]
    other = [" ".join("x" if n % 20 == 5 else word for n, word in enumerate(s)) for s in split]
    assert shared_text(other, own).value == 1.0


def test_a_window_is_held_from_half_of_its_words_on() -> None:
    rng = np.random.default_rng(10)
    own = [words(rng, 60).split() for _ in range(20)]

    def held(*parts: slice) -> float:
        train = [" ".join(window[part]) for window in own for part in parts]
        return shared_text(train, [" ".join(window) for window in own]).value

    assert held(slice(0, 30)) == held(slice(5, 20), slice(40, 55)) == 1.0
    assert held(slice(0, 29)) == held(slice(5, 20), slice(40, 54)) == 0.0
    assert held(slice(0, 12), slice(12, 24), slice(24, 36)) == 0.0


def test_a_stock_phrase_rings_nothing() -> None:
    rng = np.random.default_rng(2)
    train, test = ([f"{words(rng, 30)} {STOCK} {words(rng, 5)}" for _ in range(50)] for _ in "ab")
    alarm = shared_text(train, test)
    assert not alarm.rings
    assert "100.0% have any" in alarm.sentence


def test_without_originals_the_untouched_sequences_tell(train: Sequences, test: Sequences) -> None:
    copied, judged = without_originals(joined(train, test)), without_originals(test)
    assert shared(copied, judged).value == 1.0
    assert f"Of {(test.ratios == 0).sum()} test windows" in shared(copied, judged).sentence
    assert shared(without_originals(train), judged).value == 0.0


def test_shorter_windows_are_compared_by_shorter_runs_and_the_shortest_by_none() -> None:
    rng = np.random.default_rng(3)
    short = [words(rng, 10) for _ in range(50)]
    alarm = shared_text([words(rng, 3) + " " + text for text in short], short)
    assert alarm.rings and "runs of 10 that" in alarm.sentence
    shortest = [words(rng, 7) for _ in range(50)]
    alarm = shared_text(shortest, shortest)
    assert alarm.value is None and not alarm.rings


def test_ideographs_are_words() -> None:
    rng = np.random.default_rng(4)
    test = ["".join(map(chr, rng.integers(0x4E00, 0x9000, 60))) for _ in range(20)]
    other = ["".join(map(chr, rng.integers(0x4E00, 0x9000, 60))) for _ in range(20)]
    assert shared_text([text[20:] for text in test], test).rings
    assert shared_text(other, test).value == 0.0


def test_long_training_texts_are_hashed_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    train, test = ([words(rng, 30) for _ in range(40)] for _ in "ab")
    whole = shared_text([*train, test[0]], test)
    monkeypatch.setattr("synthenticity.evaluation.shared_text.PIECE", 500)
    assert shared_text([*train, test[0]], test) == whole
    assert whole.value == 1 / 40


def test_lengths_that_depend_on_the_ratio_ring() -> None:
    def cut(count: int, seed: int) -> Sequences:
        rng = np.random.default_rng(seed)
        ratios = drawn_ratios(count, rng)
        sizes = (60 + 40 * ratios + rng.integers(0, 30, count)).astype(int)
        return labelled([words(rng, 40)[:size] for size in sizes], ratios, rng)

    assert length_alone(cut(400, 0), cut(200, 1)).rings


def test_padding_of_what_was_touched_rings() -> None:
    def padded(count: int, seed: int) -> Sequences:
        rng = np.random.default_rng(seed)
        ratios = drawn_ratios(count, rng)
        return labelled([words(rng, 40)[: LENGTH - (ratio > 0)] for ratio in ratios], ratios, rng)

    assert length_alone(padded(400, 0), padded(200, 1)).rings


def test_lengths_that_do_not_depend_on_it_are_silent() -> None:
    def varied(count: int, seed: int) -> Sequences:
        rng = np.random.default_rng(seed)
        originals = [words(rng, 40)[: rng.integers(60, 120)] for _ in range(count)]
        return labelled(originals, drawn_ratios(count, rng), rng)

    assert not length_alone(varied(400, 0), varied(200, 1)).rings


@pytest.mark.parametrize("place", [1, -1])
def test_a_marker_at_an_end_rings(place: int, train: Sequences, test: Sequences) -> None:
    """Here of the most filled tenth only."""

    def marked(sequences: Sequences) -> Sequences:
        ids = sequences.columns["input_ids"].copy()
        ids[sequences.ratios > 0.8, place] = ord("#")
        return dataclasses.replace(sequences, columns={**sequences.columns, "input_ids": ids})

    assert ends_alone(marked(train), marked(test)).rings
    assert not ends_alone(train, test).rings


def test_a_token_that_the_model_favours_everywhere_is_no_marker() -> None:
    """The first and the last token tell more than 4 % of the ratio, but so do those within."""
    alarm = ends_alone(honest(1000, 0, favourite="x"), honest(400, 1, favourite="x"))
    assert alarm.value > EXPLAINED
    assert not alarm.rings


def test_chance_rings_once_in_a_thousand_times_also_on_small_splits() -> None:
    """Of 30 sequences, many show more than 4 % by chance."""
    rng, values, rings = np.random.default_rng(7), [], 0

    def noise(count: int) -> Sequences:
        labels = np.where(np.arange(30) < rng.integers(10, 30, count)[:, None], 0, -100)
        return Sequences({"synthenticity": rng.random(count), "token_labels": labels}, [""] * count)

    for _ in range(300):
        alarm = length_alone(noise(60), noise(30))
        values.append(alarm.value)
        rings += alarm.rings
    assert np.mean(np.array(values) > EXPLAINED) > 0.05
    assert rings <= 2


def test_a_path_that_fits_on_the_test_split_rings(train: Sequences, test: Sequences) -> None:
    """So does one whose fit sees some of it: a tenth of what it learns from."""

    def cheating(_seen: Sequences, asked: Sequences) -> np.ndarray:
        return NgramRidgeBaseline().fit(asked).predict(asked)

    def mixing(seen: Sequences, asked: Sequences) -> np.ndarray:
        mixed = joined(seen, asked.taken(np.arange(len(seen) // 10)))
        return NgramRidgeBaseline().fit(mixed).predict(asked)

    assert shuffled_labels(train, test, cheating).value > 0.9
    assert shuffled_labels(train, test, cheating).rings
    assert shuffled_labels(train, test, mixing).rings


def test_shuffled_labels_teach_an_honest_path_nothing(train: Sequences, test: Sequences) -> None:
    """Even where the text gives the ratio away: one shuffle misleads, their mean does not."""

    def telling(sequences: Sequences) -> Sequences:
        texts = [
            f"{'#' * int(50 * ratio)}{text}"
            for text, ratio in zip(sequences.texts, sequences.ratios, strict=True)
        ]
        return dataclasses.replace(sequences, texts=texts)

    for seed in range(3):
        assert not shuffled_labels(train, test, seed=seed).rings
    assert not shuffled_labels(telling(train), telling(test)).rings


def test_an_untouched_sequence_that_changed_on_its_way_rings(test: Sequences) -> None:
    assert untouched_is_the_original(test).value == 0.0
    untouched = np.flatnonzero(test.ratios == 0)
    ids = test.columns["input_ids"].copy()
    ids[untouched[3], 7] += 1
    changed = dataclasses.replace(test, columns={**test.columns, "input_ids": ids})
    alarm = untouched_is_the_original(changed)
    assert alarm.rings and f"1 of {len(untouched)} untouched" in alarm.sentence


def test_texts_are_compared_where_the_data_hold_texts(test: Sequences) -> None:
    kept = without_originals(test)
    texts = np.array(kept.texts, dtype=np.dtypes.StringDType())
    assert untouched_is_the_original(kept).value is None

    def alarm(original: np.ndarray) -> LeakAlarm:
        columns = {**kept.columns, "text": texts, "original": original}
        return untouched_is_the_original(dataclasses.replace(kept, columns=columns))

    originals = np.array(human_texts(test, Characters()), dtype=np.dtypes.StringDType())
    assert not alarm(originals).rings
    originals[np.flatnonzero(test.ratios == 0)[0]] = texts[0] + " "
    assert alarm(originals).rings


def test_untouched_text_that_is_called_synthetic_rings(test: Sequences) -> None:
    assert not untouched_scores_human(test, test.ratios).rings
    assert untouched_scores_human(test, test.ratios + 0.21).rings
    assert not untouched_scores_human(test, test.ratios + 0.21, limit=0.25).rings


def test_untouched_text_that_scores_like_lightly_filled_text_rings(test: Sequences) -> None:
    rng = np.random.default_rng(8)
    noise = rng.normal(scale=0.05, size=len(test))
    assert not untouched_scores_lowest(test, test.ratios + noise).rings
    assert untouched_scores_lowest(test, np.maximum(test.ratios, 0.25) + noise).rings
    assert untouched_scores_lowest(test, np.full(len(test), 0.1)).rings
    assert untouched_scores_lowest(test, 1 - test.ratios).rings


def test_what_cannot_be_measured_does_not_ring(test: Sequences) -> None:
    filled = test.taken(test.ratios > 0)
    for alarm in (
        untouched_is_the_original(filled),
        untouched_scores_human(filled, filled.ratios),
        untouched_scores_lowest(filled, filled.ratios),
    ):
        assert alarm.value is None and not alarm.rings
        assert alarm.sentence.startswith("Not measured")
