"""Draws follow the distribution asked for, and depend on (key, id) and on nothing else."""

import numpy as np
import pytest
import torch
from torch import Tensor

from synthenticity.synthesis.sampling import (
    Sampling,
    draw_tokens,
    gumbel_noise,
    position_keys,
)

LOGITS = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -torch.inf])
ROWS = 40_000


def sampling(rows: int, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Sampling:
    return Sampling(
        torch.full((rows,), temperature, dtype=torch.float64),
        torch.full((rows,), top_k),
        torch.full((rows,), top_p, dtype=torch.float64),
    )


def draws(rows: int = ROWS, **settings: float) -> Tensor:
    keys = position_keys(torch.arange(rows), torch.zeros(rows, dtype=torch.long))
    return draw_tokens(LOGITS.expand(rows, -1), keys, sampling(rows, **settings))


def shares(tokens: Tensor) -> np.ndarray:
    return np.bincount(tokens.numpy(), minlength=len(LOGITS)) / len(tokens)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_draws_follow_the_softmax_at_any_temperature(temperature: float) -> None:
    expected = (LOGITS / temperature).softmax(dim=0).numpy()
    assert shares(draws(temperature=temperature)) == pytest.approx(expected, abs=0.01)


def test_temperature_zero_writes_the_likeliest() -> None:
    assert (draws(100, temperature=0.0) == 0).all()


def test_top_k_draws_among_the_k_likeliest_only() -> None:
    expected = torch.cat([LOGITS[:2].softmax(dim=0), torch.zeros(4)]).numpy()
    assert shares(draws(top_k=2)) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("vocabulary", [50, 399, 1003])
def test_the_k_likeliest_are_those_of_a_whole_sorting(vocabulary: int) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(40, vocabulary, generator=generator)
    logits[:, ::3] = -torch.inf
    keys, few = torch.arange(40), logits.topk(7, dim=1).values[:, -1:]
    among = logits.masked_fill(logits < few, -torch.inf)
    assert torch.equal(
        draw_tokens(logits, keys, sampling(40, top_k=7)), draw_tokens(among, keys, sampling(40))
    )


def test_top_p_draws_within_the_mass_only_and_never_nothing() -> None:
    mass = LOGITS.softmax(dim=0).cumsum(dim=0)
    within = float(mass[0] + 0.01)
    expected = torch.cat([LOGITS[:2].softmax(dim=0), torch.zeros(4)]).numpy()
    assert shares(draws(top_p=within)) == pytest.approx(expected, abs=0.01)
    assert (draws(100, top_p=0.0) == 0).all()


def test_banned_ids_are_never_drawn() -> None:
    assert shares(draws(temperature=50.0))[-1] == 0


def test_each_row_has_its_own_settings() -> None:
    settings = Sampling(
        torch.tensor([0.0, 1.0, 1.0]), torch.tensor([0, 1, 0]), torch.tensor([1.0, 1.0, 1e-9])
    )
    keys = torch.tensor([5, 6, 7])
    assert draw_tokens(LOGITS.expand(3, -1), keys, settings).tolist() == [0, 0, 0]
    mixed = Sampling(torch.tensor([1.0, 0.0]), torch.zeros(2, dtype=torch.long), torch.ones(2))
    alone = [draw_tokens(LOGITS[None], torch.tensor([k]), sampling(1)).item() for k in range(50)]
    beside = [
        draw_tokens(LOGITS.expand(2, -1), torch.tensor([k, 9]), mixed)[0].item() for k in range(50)
    ]
    assert alone == beside and len(set(alone)) > 1


def test_a_draw_depends_on_no_neighbour() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 50, generator=generator)
    keys = position_keys(torch.arange(200), torch.arange(200) % 7)
    together = draw_tokens(logits, keys, sampling(200))
    order = torch.randperm(200, generator=generator)
    shuffled = draw_tokens(logits[order], keys[order], sampling(200))
    assert (together[order] == shuffled).all()
    assert (draw_tokens(logits[:3], keys[:3], sampling(3)) == together[:3]).all()


def test_noise_is_keyed_by_the_id_so_that_unlikely_ids_change_nothing() -> None:
    longer = torch.cat([LOGITS, torch.full((20,), -40.0)])
    keys = torch.arange(500)
    settings = sampling(500)
    assert (
        draw_tokens(LOGITS.expand(500, -1), keys, settings)
        == draw_tokens(longer.expand(500, -1), keys, settings)
    ).all()


def test_keys_of_sequences_and_positions_do_not_collide() -> None:
    sequences, positions = torch.meshgrid(torch.arange(300), torch.arange(300), indexing="ij")
    keys = position_keys(sequences.flatten(), positions.flatten())
    assert len(set(keys.tolist())) == 300 * 300


def test_the_noise_is_standard_gumbel() -> None:
    noise = gumbel_noise(torch.arange(2000), torch.arange(100)).flatten()
    assert noise.isfinite().all()
    assert float(noise.mean()) == pytest.approx(0.5772, abs=0.01)
    assert float(noise.var()) == pytest.approx(np.pi**2 / 6, abs=0.02)
