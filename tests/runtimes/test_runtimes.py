"""Whatever computes a model: the same predictions, and a row's bits are the row's own."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
from kinds import KINDS
from transformers import AutoConfig, AutoModelForMaskedLM

from synthenticity.runtimes.opening import open_runtime
from synthenticity.runtimes.runtime import Runtime
from synthenticity.synthesis.calibration import MaskedRows, calibrate, compare

CPU = torch.device("cpu")
VOCABULARY, LENGTH = 600, 48
SIZE = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 96,
    "max_position_embeddings": 64,
}
FAMILIES = {
    "bert": SIZE,
    "modernbert": {**SIZE, "local_attention": 8, "global_attn_every_n_layers": 3},
}


@cache
def build(family: str) -> Any:
    torch.manual_seed(0)
    ids = dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 2)
    config = AutoConfig.for_model(
        family, vocab_size=VOCABULARY, pad_token_id=0, **FAMILIES[family], **ids
    )
    model = AutoModelForMaskedLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.05)
    return model


def rows(count: int = 40, seed: int = 0) -> MaskedRows:
    """Return rows of which every third is padded."""
    rng = np.random.default_rng(seed)
    visible = np.ones((count, LENGTH), dtype=bool)
    visible[::3, LENGTH - 20 :] = False
    ids = np.where(visible, rng.integers(4, VOCABULARY, visible.shape), 0)
    places = (rng.random(visible.shape) < 0.3) & visible
    return MaskedRows(np.where(places, 3, ids), places, visible)


@cache
def opened(family: str, runtime: str, dtype: str, threads: int = 1) -> Runtime:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = open_runtime(build(family), CPU, dtype, runtime)
        if not found.calibrated:
            calibrate(found, build(family), rows(seed=1), family)
    finally:
        torch.set_num_threads(before)
    return found


def logits_of(runtime: Runtime, given: MaskedRows) -> list[torch.Tensor]:
    """Return the logits of each row."""
    counts = given.places.sum(axis=1).tolist()
    hidden = runtime.hidden_at(given.ids, given.places, given.visible)
    return [logits.clone() for logits in torch.split(runtime.logits(hidden), counts)]


def taken(given: MaskedRows, index: list[int]) -> MaskedRows:
    return MaskedRows(given.ids[index], given.places[index], given.visible[index])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("runtime", "dtype"), KINDS)
def test_predictions_are_those_of_pytorch_in_float32(family: str, runtime: str, dtype: str) -> None:
    found = opened(family, runtime, dtype)
    assert dtype in found.arithmetic and runtime in found.arithmetic
    with torch.inference_mode():
        given = rows(8)
        whole = build(family)(
            input_ids=torch.as_tensor(given.ids),
            attention_mask=torch.as_tensor(given.visible.astype(np.int64)),
        ).logits[torch.as_tensor(given.places)]
    logits = torch.cat(logits_of(found, given))
    most = {"float32": 1e-4, "bfloat16": 0.05, "int8": 0.2}[dtype]
    assert (logits - whole).norm() < most * whole.norm()
    accuracy = compare(opened(family, "torch", "float32"), found, given)
    assert accuracy.divergence < {"float32": 1e-8, "bfloat16": 1e-3, "int8": 1e-2}[dtype]
    assert accuracy.positions == given.places.sum()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("runtime", "dtype"), KINDS)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_rows_bits_are_its_own(family: str, runtime: str, dtype: str, threads: int) -> None:
    """Whatever the batch's size, the row's place in it, its neighbours, and the threads."""
    found, given = opened(family, runtime, dtype, threads), rows()
    assert found.batch_invariant
    kinds = [np.flatnonzero(given.visible.all(axis=1) == whole) for whole in (True, False)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for members in kinds:
            together = logits_of(found, taken(given, members.tolist()))
            shuffled = np.random.default_rng(3).permutation(len(members))
            for some in ([0], [5], [4, 2], [1, 2, 3, 7, 0, 9, 11], shuffled.tolist()):
                own = logits_of(found, taken(given, members[some].tolist()))
                assert all(
                    torch.equal(one, together[place]) for one, place in zip(own, some, strict=True)
                )
    finally:
        torch.set_num_threads(before)


def test_two_threads_with_one_head_get_the_logits_of_their_own_rows() -> None:
    found, given = opened("bert", "torch", "float32"), rows(6)
    hidden = found.hidden_at(given.ids, given.places, given.visible)
    own = [hidden[:16], hidden[16:32]]
    alone = [found.logits(each) for each in own]
    both_are_in = Barrier(2)
    inside = next(module for module in found.head.modules() if type(module).__name__ == "_Read")
    hook = inside.register_forward_pre_hook(lambda *_: [both_are_in.wait(60)].clear())
    try:
        with ThreadPoolExecutor(2) as threads:
            together = list(threads.map(found.logits, own))
    finally:
        hook.remove()
    assert not torch.equal(*alone)
    assert all(torch.equal(one, other) for one, other in zip(together, alone, strict=True))


def test_two_threads_share_a_model_of_openvino() -> None:
    pytest.importorskip("openvino")
    found, given = opened("bert", "openvino", "float32"), rows(6)
    own = [taken(given, [0, 2]), taken(given, [1, 4])]
    alone = [logits_of(found, each) for each in own]
    both_are_here = Barrier(2)

    def again_and_again(each: MaskedRows) -> list[list[torch.Tensor]]:
        both_are_here.wait(60)
        return [logits_of(found, each) for _ in range(50)]

    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(again_and_again, own))
    for times, expected in zip(together, alone, strict=True):
        for time in times:
            assert all(torch.equal(one, other) for one, other in zip(time, expected, strict=True))


@pytest.mark.parametrize(("runtime", "dtype"), KINDS)
def test_bits_do_not_depend_on_the_number_of_threads(runtime: str, dtype: str) -> None:
    given = taken(rows(), [1, 2, 4, 5])
    one, two = (logits_of(opened("bert", runtime, dtype, threads), given) for threads in (1, 2))
    assert all(torch.equal(left, right) for left, right in zip(one, two, strict=True))
