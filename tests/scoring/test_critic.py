"""`TokenCritic`: it scores as `Scorer` does, and takes back what it should and nothing else."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig

from synthenticity.errors import CompatibilityError, ConfigError, CorpusError, ModelError
from synthenticity.recipe import Recipe
from synthenticity.scoring.calibration import Calibration
from synthenticity.scoring.critic import TokenCritic
from synthenticity.scoring.refinement import Judge, Refinement, Round, logits_at
from synthenticity.scoring.remasking import Schedule
from synthenticity.scoring.score import Score
from synthenticity.scoring.scorer import Scorer
from synthenticity.seeding import numpy_rng
from synthenticity.synthesis.filling_model import FillingModel, load_filling_model
from synthenticity.synthesis.mlm_inference import MLMInferenceEngine
from synthenticity.synthesis.rows import Fill
from synthenticity.text.tokenization import encode, encode_with_offsets, special_ids
from synthenticity.training.model import load_scorer
from synthenticity.training.sequence_scorer import SequenceScorer, SequenceScorerConfig

SENTENCE = "the king and his fool went to a hall where night fell on stone; "
WINDOW = 32
MARK = "?"


def text_of(characters: int) -> str:
    return (SENTENCE * (characters // len(SENTENCE) + 1))[:characters]


def rng(seed: int = 1) -> np.random.Generator:
    return numpy_rng(seed, "test", 0, "critic")


@pytest.fixture(scope="module")
def critic(scorer_path: Path) -> TokenCritic:
    return TokenCritic.from_pretrained(scorer_path, device="cpu")


@pytest.fixture(scope="module")
def mlm(mlm_path: Path) -> FillingModel:
    return MLMInferenceEngine.from_pretrained(mlm_path, device="cpu")


def framed(tokenizer: Any, texts: list[str], *, cls: bool, length: int, left: int) -> np.ndarray:
    """Return ids `[texts, length]`, padded by `left` in front and as needed behind."""
    rows = np.full((len(texts), length), tokenizer.pad_token_id)
    for row, text in zip(rows, texts, strict=True):
        ids = [*([tokenizer.cls_token_id] if cls else []), *encode(tokenizer, text)]
        row[left : left + len(ids)] = ids
    return rows


@pytest.mark.parametrize("left", [0, 3])
@pytest.mark.parametrize("cls", [False, True])
def test_token_scores_are_those_of_the_scorer_to_the_bit(
    critic: TokenCritic, cls: bool, left: int
) -> None:
    texts = [text_of(n)[n % 5 :] for n in (9, WINDOW, WINDOW + 1, 100)] + ["king \u05e9 fool went"]
    ids = framed(critic.scorer.tokenizer, texts, cls=cls, length=105, left=left)
    scores = critic.token_scores(ids)
    assert scores.dtype == np.float32 and scores.shape == ids.shape
    for row, score in zip(scores, critic.scorer.score(texts), strict=True):
        own = slice(left + cls, left + cls + len(score.text))
        assert np.array_equal(row[own], score.probabilities.astype(np.float32))
        row[own] = 0
        assert not row.any()


def test_tensors_come_back_as_tensors_without_gradient_on_the_scorers_device(
    critic: TokenCritic,
) -> None:
    ids = framed(critic.scorer.tokenizer, [text_of(40)] * 2, cls=True, length=50, left=0)
    for dtype in (torch.int64, torch.int32, torch.uint8):
        scores = critic.token_scores(torch.from_numpy(ids).to(dtype))
        assert scores.dtype == torch.float32 and not scores.requires_grad
        assert scores.device == critic.device
        assert np.array_equal(scores.numpy(), critic.token_scores(ids))


def test_separators_behind_a_text_are_no_part_of_it(word_tokenizer: Any) -> None:
    critic = TokenCritic(Scorer(word_scorer(word_tokenizer), word_tokenizer))
    texts = ["the king went", "night fell on stone and on the hall"]
    ids = word_tokenizer(texts, padding=True, return_tensors="np")["input_ids"]
    assert (ids == word_tokenizer.sep_token_id).sum() == 2
    for row, own, score in zip(
        ids, critic.token_scores(ids), critic.scorer.score(texts), strict=True
    ):
        is_text = ~np.isin(row, special_ids(word_tokenizer))
        assert np.array_equal(own[is_text], score.probabilities.astype(np.float32))
        assert not own[~is_text].any()


def word_scorer(tokenizer: Any, head: str = "token") -> SequenceScorer:
    encoder = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=20,
    )
    torch.manual_seed(0)
    special = special_ids(tokenizer).tolist()
    return SequenceScorer(
        SequenceScorerConfig(encoder.to_dict(), head=head, special_token_ids=special, block_size=20)
    )


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (np.zeros((2, 3)), r"are float64 of shape \[2, 3\]"),
        (np.zeros(3, dtype=int), r"of shape \[3\]"),
        (torch.zeros(2, 3, dtype=torch.bool), "are bool"),
        (np.array([[4, 5], [4, 999]]), "999 in row 1, column 1 is none of the scorer's"),
        (np.array([[4, -1]]), "-1 in row 0, column 1"),
        (np.array([[4, 3, 5]]), r"hold \[MASK\]"),
        (np.array([[4, 5, 0], [4, 2, 5]]), "row 1 has special tokens in the middle"),
    ],
)
def test_what_is_no_batch_of_texts_is_refused(critic: TokenCritic, ids: Any, words: str) -> None:
    with pytest.raises(CorpusError, match=words):
        critic.token_scores(ids)


def test_batches_and_rows_may_be_empty(critic: TokenCritic, mlm: FillingModel) -> None:
    assert critic.token_scores(np.zeros((0, 7), dtype=int)).shape == (0, 7)
    ids = framed(critic.scorer.tokenizer, ["", text_of(20)], cls=True, length=24, left=0)
    assert not critic.token_scores(ids)[0].any()
    refined = critic.refine(ids, mlm, rounds=2, rng=rng())
    assert np.array_equal(refined.best_ids[0], ids[0])
    assert refined.remasked[:, 0].tolist() == [0, 0, 0] and (refined.remasked[1:, 1] > 0).all()
    assert np.isnan(refined.synthenticity[:, 0]).all()
    assert critic.refine(ids[:0], mlm, rounds=2, rng=rng()).ids.shape == (3, 0, 24)


@pytest.mark.parametrize("fall", ["cosine", "linear"])
@pytest.mark.parametrize("characters", [9, WINDOW, 150])
def test_each_round_remasks_exactly_what_the_schedule_says(
    critic: TokenCritic, mlm: FillingModel, characters: int, fall: str
) -> None:
    """Of a text shorter than a window, of one, and of several."""
    text = text_of(characters)
    refined = critic.refine(text, mlm, rounds=4, share=0.3, fall=fall, rng=rng())
    left = {"cosine": [1, 0.92388, 0.70711, 0.38268], "linear": [1, 0.75, 0.5, 0.25]}[fall]
    expected = [max(1, round(share * 0.3 * characters)) for share in left]
    assert [each.number for each in refined.rounds] == [0, 1, 2, 3, 4]
    assert [each.remasked for each in refined.rounds] == [0, *expected]
    for before, after in zip(refined.rounds, refined.rounds[1:], strict=False):
        differ = sum(a != b for a, b in zip(before.text, after.text, strict=True))
        assert differ == after.changed <= after.remasked
        assert after.score.synthenticity == critic.scorer.score(after.text).synthenticity
    assert refined.best.score.synthenticity == min(r.score.synthenticity for r in refined.rounds)
    assert refined.last is refined.rounds[-1]


def test_the_same_seed_gives_the_same_text_and_another_gives_another(
    critic: TokenCritic, mlm: FillingModel
) -> None:
    def last(seed: int, **options: Any) -> str:
        text = critic.refine(text_of(100), mlm, rounds=3, rng=rng(seed), **options).last.text
        assert len(text) == 100
        return text

    assert last(1) == last(1) != last(2)
    assert last(1, temperature=2.0) == last(1, temperature=2.0) != last(1)
    assert last(1, recipe=Recipe(temperature=0.0)) == last(2, recipe=Recipe(temperature=0.0))


def test_ids_are_refined_as_the_text_that_they_spell(
    scorer_path: Path, critic: TokenCritic, mlm: FillingModel
) -> None:
    """Scores are calibrated alike, too."""
    tokenizer, text = critic.scorer.tokenizer, text_of(70)
    calibration = Calibration("", values=(0.0, 1.0), ratios=(0.2, 0.3))
    own = TokenCritic(Scorer(load_scorer(scorer_path), tokenizer, calibration=calibration))
    options: dict[str, Any] = {"rounds": 3, "temperature": 1.0}
    of_text = own.refine(text, mlm, rng=rng(), **options)
    ids = framed(tokenizer, [text], cls=True, length=80, left=0)
    of_ids = own.refine(torch.from_numpy(ids), mlm, rng=rng(), **options)
    for number, each in enumerate(of_text.rounds):
        assert np.array_equal(of_ids.ids[number, 0, 1:71], encode(tokenizer, each.text))
        assert np.array_equal(of_ids.ids[number, 0, 71:], ids[0, 71:])
        scores = each.score.probabilities.astype(np.float32)
        assert np.array_equal(of_ids.token_scores[number, 0, 1:71], scores)
        assert of_ids.synthenticity[number, 0] == each.score.synthenticity
        assert of_ids.remasked[number, 0] == each.remasked
        assert of_ids.changed[number, 0] == each.changed
    assert of_ids.best[0] == of_text.best.number
    assert np.array_equal(of_ids.best_ids[0], of_ids.ids[of_text.best.number, 0])


def test_special_tokens_are_never_written_nor_taken_back(
    critic: TokenCritic, mlm: FillingModel
) -> None:
    tokenizer = critic.scorer.tokenizer
    texts = [text_of(40), "\u05e9 king \u05e9", text_of(90)[50:]]
    ids = framed(tokenizer, texts, cls=True, length=45, left=0)
    refined = critic.refine(ids, mlm, rounds=6, share=1.0, rng=rng())
    special = np.isin(ids, special_ids(tokenizer))
    assert np.array_equal(np.isin(refined.ids, special_ids(tokenizer)), [special] * 7)
    assert np.array_equal(refined.ids[:, special], [ids[special]] * 7)
    assert refined.remasked[1].tolist() == (~special).sum(axis=1).tolist()


def test_what_is_not_remasked_stays_to_the_byte(critic: TokenCritic, mlm: FillingModel) -> None:
    text = "king\r\n\tand \U0001f642 his\u00a0fool\x00 went; " * 4
    known = set(critic.scorer.tokenizer.get_vocab())
    refined = critic.refine(text, mlm, rounds=5, share=0.9, rng=rng())
    kept = [(place, sign) for place, sign in enumerate(text) if sign not in known]
    assert len(kept) == 4 * 6
    assert refined.last.changed > 0
    for each in refined.rounds:
        assert [(place, each.text[place]) for place, _ in kept] == kept


def first_token(ids: np.ndarray) -> np.ndarray:
    """Judge the first token the worst."""
    return -np.arange(ids.size).reshape(ids.shape)


@pytest.mark.parametrize("name", ["bert-cased", "roberta"])
def test_of_a_text_the_tokenizers_may_differ_and_of_ids_they_may_not(
    critic: TokenCritic, family: Callable[[str], Path], name: str
) -> None:
    engine, text = load_filling_model(family(name)), "the king\r\n  and his   fool went"
    refined = critic.refine(text, engine, rounds=1, share=0.01, judge=first_token, rng=rng())
    assert refined.last.remasked == 1
    _, offsets = encode_with_offsets(engine.tokenizer, text)
    assert refined.last.text.endswith(text[offsets[0, 1] :])
    several = critic.refine(text, engine, rounds=3, share=0.5, rng=rng())
    assert several.rounds[1].remasked > 1 and several.last.text != text
    ids = framed(critic.scorer.tokenizer, [text_of(20)], cls=False, length=20, left=0)
    with pytest.raises(CompatibilityError, match="Refine text in place of ids"):
        critic.refine(ids, engine, rng=rng())


def test_other_tokens_get_the_mean_logit_of_their_characters() -> None:
    score = Score(
        text="ab  cd",
        synthenticity=0.5,
        interval=(0, 1),
        uncalibrated=0.5,
        replaced=None,
        offsets=np.array([[0, 2], [4, 5], [5, 6]]),
        token_logits=np.array([1, 2, 4], dtype=np.float32),
        unknown_share=0.0,
    )
    found = logits_at(score, np.array([[0, 1], [1, 3], [2, 4], [3, 6], [6, 6]]))
    assert np.array_equal(found, [1, 1, np.nan, 3, np.nan], equal_nan=True)
    assert logits_at(score, score.offsets).tolist() == [1, 2, 4]


class MarkingModel:
    """Stands in for a scorer's model: the truth is known, and it is one character."""

    def __init__(self, model: SequenceScorer, mark: int) -> None:
        self.config, self.mark = model.config, mark
        self.token_head, self.device = object(), torch.device("cpu")

    def __call__(self, ids: torch.Tensor, mask: torch.Tensor) -> Any:
        counted = (mask == 1) & ~torch.isin(ids, torch.tensor(self.config.special_token_ids))
        return SimpleNamespace(
            cls_logit=torch.zeros(len(ids)),
            token_logits=torch.where(ids == self.mark, 9.0, -9.0),
            counted=counted,
            interval_logits=torch.zeros(len(ids), 2),
        )


@pytest.fixture
def marking(scorer_path: Path) -> TokenCritic:
    """A critic that finds one character machine-written, and no other."""
    scorer = Scorer.from_pretrained(scorer_path, device="cpu")
    mark = scorer.tokenizer.convert_tokens_to_ids(MARK)
    scorer.model = MarkingModel(scorer.model, mark)  # type: ignore[assignment]
    return TokenCritic(scorer)


@pytest.fixture
def writer(constant_engine: Any) -> Any:
    """A filling model that writes a, and nothing else."""

    def fill(ids: Any, mask: Any, **_: Any) -> Fill:
        written = constant_engine.predict_masked_tokens(ids, mask)
        return Fill(written, np.zeros(ids.shape, np.float32), np.where(mask, 0, -1))

    constant_engine.fill = fill
    return constant_engine


MARKED = "".join(MARK if n % 10 == 3 else sign for n, sign in enumerate(text_of(160)))


def marks_left(refined: Refinement) -> list[int]:
    return [each.text.count(MARK) for each in refined.rounds]


def test_where_the_truth_is_known_the_critic_takes_back_exactly_that(
    marking: TokenCritic, writer: Any
) -> None:
    refined = marking.refine(MARKED, writer, rounds=1, share=0.1, rng=rng())
    assert MARKED.count(MARK) == refined.last.remasked == refined.last.changed == 16
    assert refined.best.text == MARKED.replace(MARK, "a")
    longer = marking.refine(MARKED, writer, rounds=4, share=0.05, rng=rng())
    assert marks_left(longer) == [16, 8, 1, 0, 0]
    assert longer.best.number == 3
    scores = [each.score.synthenticity for each in longer.rounds]
    assert scores[0] > scores[1] > scores[2] > scores[3] == scores[4]


def test_a_control_that_remasks_at_random_does_not(marking: TokenCritic, writer: Any) -> None:
    lots = np.random.default_rng(0)

    def at_random(ids: np.ndarray) -> np.ndarray:
        return lots.random(ids.shape)

    refined = marking.refine(MARKED, writer, rounds=4, share=0.05, judge=at_random, rng=rng())
    assert [each.remasked for each in refined.rounds] == [0, 8, 7, 6, 3]
    assert marks_left(refined)[-1] > 8


def test_a_round_is_kept_only_if_it_lowers_the_score(marking: TokenCritic, writer: Any) -> None:
    refined = marking.refine(text_of(64), writer, rounds=3, rng=rng())
    assert refined.last.text != refined.best.text == text_of(64)
    assert refined.best.number == 0


def test_a_round_of_which_the_scorer_abstains_is_never_the_best(
    marking: TokenCritic, writer: Any
) -> None:
    refined = marking.refine(MARKED, writer, rounds=2, share=0.05, rng=rng())
    lost = dataclasses.replace(refined.last.score, synthenticity=0.0, abstained="is blank")
    rounds = [*refined.rounds, Round(3, lost, 1, 1)]
    assert Refinement(rounds).best is refined.best
    drafts = [Round(number, lost, 1, 1) for number in range(3)]
    assert Refinement(drafts).best is drafts[0]


def test_noise_blurs_the_choice_and_fades() -> None:
    preference, maskable = np.linspace(0, 1, 200)[None], np.ones((1, 200), dtype=bool)
    maskable[0, -5:] = False

    def chosen(number: int, temperature: float) -> np.ndarray:
        schedule = Schedule(rounds=10, share=0.1, temperature=temperature)
        return schedule.remask(number, preference, maskable, rng())[0]

    assert np.flatnonzero(chosen(0, 0.0)).tolist() == [*range(175, 195)]  # rint(19.5) is 20
    assert chosen(0, 0.05).sum() == 20 and not chosen(0, 0.05)[-5:].any()
    means = [np.flatnonzero(chosen(number, 0.3)).mean() for number in (0, 9)]
    assert means[0] < means[1] - 10


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"rounds": 0}, "rounds: 0 is not a finite number of at least 1"),
        ({"share": 0.0}, "share: 0 remasks nothing"),
        ({"share": 1.5}, "share: 1.5 is outside 0 to 1"),
        ({"temperature": float("nan")}, "temperature: nan is not a finite number"),
        ({"fall": "cosin"}, "fall: 'cosin' is none of cosine, linear. Did you mean cosine?"),
        ({"round": 3}, "round: unknown setting. Did you mean rounds?"),
        ({"recipe": Recipe(temperature=-1.0)}, "temperature: -1 is not"),
    ],
)
def test_settings_out_of_range_are_refused(
    critic: TokenCritic, mlm: FillingModel, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        critic.refine("the king", mlm, rng=rng(), **settings)


@pytest.mark.parametrize(
    ("draft", "words"),
    [("", "is empty"), ("\u05e9\u05dc", "mostly unknown tokens: 100%")],
)
def test_a_draft_without_tokens_is_refused(
    critic: TokenCritic, mlm: FillingModel, draft: str, words: str
) -> None:
    with pytest.raises(CorpusError, match=f"draft: {words}"):
        critic.refine(draft, mlm, rng=rng())


def test_a_draft_that_the_filling_model_cannot_write_is_refused(
    marking: TokenCritic, constant_engine: Any
) -> None:
    foreign = type(constant_engine)("xyz")
    with pytest.raises(CorpusError, match="no token of it can be both judged by the scorer and"):
        marking.refine("the king", foreign, rng=rng())


@pytest.mark.parametrize("judge", [lambda ids: np.zeros(3), lambda ids: np.full(ids.shape, np.nan)])
def test_a_judge_must_judge_every_token(
    critic: TokenCritic, mlm: FillingModel, judge: Judge
) -> None:
    with pytest.raises(ConfigError, match="judge: of ids"):
        critic.refine("the king and his fool", mlm, judge=judge, rng=rng())


def test_rounds_are_told_of_as_they_end(critic: TokenCritic, mlm: FillingModel) -> None:
    told: list[tuple[int, float]] = []
    refined = critic.refine(
        text_of(40), mlm, rounds=3, rng=rng(), on_round=lambda *news: told.append(news)
    )
    assert told == [(each.number, each.score.synthenticity) for each in refined.rounds[1:]]


def test_a_scorer_without_token_head_is_no_critic(word_tokenizer: Any) -> None:
    with pytest.raises(ModelError, match="has no token head"):
        TokenCritic(Scorer(word_scorer(word_tokenizer, head="cls"), word_tokenizer))
