"""N-grams: of the text alone, the same wherever they stand, and left out as a whole."""

import pytest
import torch

from synthenticity.training.ngram_embedding import NgramEmbedding, ngram_buckets

PAD, CLS = 0, 1


def embedding(**changes: object) -> NgramEmbedding:
    torch.manual_seed(0)
    options = {"sizes": (2, 3), "bits": 10, "width": 4, "dropout": 0.0, "outside": (PAD, CLS)}
    made = NgramEmbedding(torch.nn.Embedding(20, 8), **(options | changes))
    return made.eval()


def texts(rows: int = 4, length: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(2, 20, (rows, length), generator=generator)


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_a_bucket_depends_on_its_ngram_and_on_nothing_else(size: int) -> None:
    ids = texts()
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    buckets = ngram_buckets(ids, size, 16)
    for place in range(before, ids.shape[1] - after):
        alone = ids[:, place - before : place + after + 1]
        assert torch.equal(ngram_buckets(alone, size, 16)[:, before], buckets[:, place])
        for changed in range(size):
            other = alone.clone()
            other[:, changed] += 1
            assert (ngram_buckets(other, size, 16)[:, before] != buckets[:, place]).any()


@pytest.mark.parametrize("size", [2, 5])
def test_buckets_are_evenly_filled(size: int) -> None:
    ids = torch.randint(1, 60, (200, 256), generator=torch.Generator().manual_seed(2))
    different = len({tuple(row.tolist()) for row in ids.unfold(1, size, 1).reshape(-1, size)})
    counts = torch.bincount(ngram_buckets(ids, size, 12).flatten(), minlength=2**12)
    hit = (counts > 0).sum().item()
    assert int(counts.sum()) == ids.numel()
    expected = 2**12 * (1 - (1 - 2**-12) ** different)  # as if thrown in
    assert hit == pytest.approx(expected, rel=0.05)


def test_big_ids_do_not_overflow() -> None:
    ids = torch.full((1, 6), 2**31 - 3)
    assert 0 <= int(ngram_buckets(ids, 5, 24).min()) <= int(ngram_buckets(ids, 5, 24).max()) < 2**24


def test_cls_and_padding_are_no_text() -> None:
    made, ids = embedding(), texts(1)
    framed = torch.cat([torch.tensor([[CLS]]), ids, torch.full((1, 4), PAD)], dim=1)
    torch.testing.assert_close(made(framed)[:, 1:13], made(ids), rtol=0, atol=1e-6)
    naive = embedding(outside=())
    assert not torch.allclose(naive(framed)[:, 1:13], naive(ids), atol=1e-3)


def test_ngrams_that_say_nothing_leave_the_words() -> None:
    made, ids = embedding(), texts()
    assert not torch.equal(made(ids), made.words(ids))
    made.forget()
    assert torch.equal(made(ids), made.words(ids))


def test_training_leaves_out_whole_ngrams_and_scoring_none() -> None:
    made, ids = embedding(dropout=0.5, sizes=(2,)), texts(8, 64)
    full = made(ids) - made.words(ids) - made.projection.bias
    assert torch.equal(made(ids), made(ids))
    made.train()
    some = made(ids) - made.words(ids) - made.projection.bias
    left_out = some.abs().sum(dim=2) < 1e-6
    assert 0.4 < left_out.float().mean() < 0.6
    torch.testing.assert_close(some[~left_out], 2 * full[~left_out], rtol=1e-4, atol=1e-5)
