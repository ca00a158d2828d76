"""Likelihoods are the model's own, each token judged by what stands around it."""

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from synthenticity.synthesis.likelihood import LIKELIHOODS, token_likelihoods

MASK, NEVER, VOCABULARY = 3, torch.arange(4), 30


@pytest.fixture(scope="module")
def model() -> BertForMaskedLM:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        initializer_range=0.5,
    )
    return BertForMaskedLM(config).eval()


def texts(rows: int = 3, length: int = 13) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows with [CLS] in front, the last of them padded, and what is counted."""
    ids = torch.randint(4, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(1))
    ids[:, 0] = 2
    ids[-1, 9:] = 0
    return ids, ids > 3


def test_as_many_passes_as_tokens_are_the_pseudo_log_likelihood(model: BertForMaskedLM) -> None:
    ids, counted = texts()
    found = token_likelihoods(
        model, ids, counted, passes=12, mask_token_id=MASK, never=NEVER, attention_mask=ids > 0
    )
    for row, place in counted.nonzero().tolist():
        masked = ids[row : row + 1].clone()
        masked[0, place] = MASK
        with torch.no_grad():
            logits = model(input_ids=masked, attention_mask=(masked > 0).long()).logits[0, place]
        p = torch.softmax(logits[4:].double(), dim=0).numpy()
        own = ids[row, place] - 4
        surprise = -np.log(p)
        entropy = p @ surprise
        expected = {
            "log_probability": -surprise[own],
            "log_rank": np.log1p((p > p[own]).sum()),
            "entropy": entropy,
            "variance": p @ surprise**2 - entropy**2,
        }
        for index, name in enumerate(LIKELIHOODS):
            assert found[row, place, index] == pytest.approx(expected[name], abs=1e-4), name
    assert (found[~counted] == 0).all()


@pytest.mark.parametrize("passes", [1, 3, 4])
def test_a_token_is_judged_once_and_never_seen(model: BertForMaskedLM, passes: int) -> None:
    """What stands at a token changes its own judgement by its own probability alone."""
    ids, counted = texts(1)
    given = {"passes": passes, "mask_token_id": MASK, "never": NEVER}
    found = token_likelihoods(model, ids, counted, **given)
    assert (found[counted][:, 2] > 0).all()
    place = 6
    other = ids.clone()
    other[0, place] = 4 + (ids[0, place] - 3) % (VOCABULARY - 4)
    again = token_likelihoods(model, other, counted, **given)
    same_pass = [at for at in range(1, 13) if (at - place) % passes == 0]
    assert torch.allclose(found[0, same_pass, 2:], again[0, same_pass, 2:], atol=1e-5)
    assert not torch.allclose(found[0, place, :2], again[0, place, :2])


def test_one_reading_of_everything_sees_every_token(model: BertForMaskedLM) -> None:
    ids, counted = texts(2)
    found = token_likelihoods(model, ids, counted, passes=0, mask_token_id=MASK, never=NEVER)
    with torch.no_grad():
        log = model(input_ids=ids).logits[..., 4:].log_softmax(-1)
    own = log.gather(-1, (ids - 4).clamp(min=0)[..., None])[..., 0]
    assert torch.allclose(found[..., 0][counted], own[counted], atol=1e-4)


def test_a_token_that_no_text_holds_takes_no_probability(model: BertForMaskedLM) -> None:
    ids, counted = texts(1)
    more = torch.cat([NEVER, torch.tensor([9])])
    ids[ids == 9] = 10
    few = token_likelihoods(model, ids, counted, passes=2, mask_token_id=MASK, never=more)
    all_ = token_likelihoods(model, ids, counted, passes=2, mask_token_id=MASK, never=NEVER)
    assert (few[counted][:, 0] > all_[counted][:, 0]).all()
    assert torch.isfinite(few).all()
