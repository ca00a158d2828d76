"""A scorer in ONNX: the same numbers from ONNX Runtime alone, channels and all."""

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scorers import CURVE, loud, save_scorer

from synthenticity import cli
from synthenticity.config import Config
from synthenticity.errors import MissingExtraError, ModelError
from synthenticity.scoring import onnx_export, onnx_trial
from synthenticity.scoring.onnx_export import OUTPUTS, export_onnx
from synthenticity.scoring.onnx_trial import TOKEN_LOGITS, find_fault
from synthenticity.scoring.scorer import Scorer
from synthenticity.scoring.trial_windows import LEAST_TEXT, trial_windows
from synthenticity.text.tokenization import load_tokenizer
from synthenticity.training.model import build_scorer, load_scorer
from synthenticity.training.sequence_scorer import SequenceScorer

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

INT8_MEAN, INT8_MOST = 0.005, 0.02
"""By which int8 may move a synthenticity, in the mean and at most."""


def read(folder: Path, ids: torch.Tensor, visible: torch.Tensor) -> dict[str, np.ndarray]:
    """Return what the exported model says, by output."""
    session = onnxruntime.InferenceSession(
        str(folder / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    names = [each.name for each in session.get_outputs()]
    given = {"input_ids": ids.numpy(), "attention_mask": visible.numpy()}
    return dict(zip(names, session.run(None, given), strict=True))


def texts(model: SequenceScorer, rows: int, length: int, seed: int = 5) -> Any:
    """Return ids and mask of texts of any tokens, each padded to another length."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(
        5, int(model.config.encoder["vocab_size"]), (rows, length), generator=generator
    )
    lengths = length - torch.arange(rows) % max(length // 2, 1)
    return ids, (torch.arange(length) < lengths[:, None]).long()


def assert_same(folder: Path, model: SequenceScorer, rows: int, length: int) -> None:
    ids, visible = texts(model, rows, length)
    found = read(folder, ids, visible)
    with torch.no_grad():
        expected = model(ids, visible)
    for name in ("synthenticity", "low", "high"):
        assert found[name].shape == (rows,) and found[name].dtype == np.float32
        assert np.allclose(found[name], expected[name], rtol=0, atol=1e-5), name
    assert np.allclose(found["logit"], expected.logit, rtol=0, atol=1e-4)
    if model.token_head is not None:
        some = visible.numpy() == 1
        ours, theirs = (
            1 / (1 + np.exp(-np.asarray(x))) for x in (expected.token_logits, found[TOKEN_LOGITS])
        )
        assert np.allclose(ours[some], theirs[some], rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def loud_scorer(scorer_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A character scorer that reads n-grams, each part of which says something."""
    folder = tmp_path_factory.mktemp("loud") / "run"
    shutil.copytree(scorer_path, folder, ignore=shutil.ignore_patterns("checkpoint*"))
    model = load_scorer(folder)
    loud(model)
    model.config.ratio_map = list(CURVE)
    model.config.interval_margin = 0.01  # as trained it is so wide that every end is 0 or 1
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def exported(loud_scorer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx") / "float32"
    export_onnx(loud_scorer, folder)
    return folder


@pytest.fixture(scope="module")
def exported_int8(loud_scorer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx") / "int8"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_export, "LEAST_TABLE", 64)
        export_onnx(loud_scorer, folder, int8=True)
    return folder


@pytest.mark.parametrize(("rows", "length"), [(1, 1), (1, 33), (5, 17), (3, 2)])
def test_onnx_says_what_the_scorer_says_of_any_batch_and_length(
    exported: Path, loud_scorer: Path, rows: int, length: int
) -> None:
    assert_same(exported, load_scorer(loud_scorer), rows, length)


def test_the_inputs_and_outputs_are_named_and_free_in_batch_and_length(exported: Path) -> None:
    session = onnxruntime.InferenceSession(
        str(exported / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    shapes = {each.name: each.shape for each in (*session.get_inputs(), *session.get_outputs())}
    both = ["batch", "length"]
    assert shapes == {
        "input_ids": both,
        "attention_mask": both,
        TOKEN_LOGITS: both,
    } | {name: ["batch"] for name in OUTPUTS}


def test_the_readme_runs_as_it_stands_without_this_package(
    exported: Path, loud_scorer: Path
) -> None:
    page = (exported / "README.md").read_text(encoding="utf-8")
    program = page.split("```python\n")[1].split("```")[0]
    assert len(program.splitlines()) <= 10
    hidden = ("synthenticity", "torch", "transformers")
    block = f"import sys; sys.modules |= dict.fromkeys({hidden!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", block + program],
        cwd=exported,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [[float(value) for value in line.split()] for line in done.stdout.splitlines()]
    scores = Scorer.from_pretrained(loud_scorer, device="cpu").score(
        ["To be, or not to be.", "A second text."]
    )
    expected = [(score.synthenticity, *score.interval) for score in scores]
    assert np.allclose(found, expected, rtol=0, atol=1e-5)


def test_int8_says_nearly_the_same_and_a_text_the_same_in_any_company(
    exported_int8: Path, loud_scorer: Path
) -> None:
    model = load_scorer(loud_scorer)
    ids, visible = texts(model, 64, 32)
    with torch.no_grad():
        expected = model(ids, visible).synthenticity.numpy()
    together = read(exported_int8, ids, visible)["synthenticity"]
    difference = np.abs(together - expected)
    assert 0 < difference.mean() < INT8_MEAN and difference.max() < INT8_MOST
    alone = [
        read(exported_int8, ids[n : n + 1], visible[n : n + 1])["synthenticity"] for n in (0, 7)
    ]
    assert np.allclose(np.concatenate(alone), together[[0, 7]], rtol=0, atol=1e-6)


def test_int8_is_in_8_bits(exported: Path, exported_int8: Path) -> None:
    import onnx

    graph = onnx.load(exported_int8 / "model.onnx").graph
    assert sum(node.op_type == "MatMulNBits" for node in graph.node) > 5
    tables = [each for each in graph.initializer if each.name.endswith("_int8")]
    assert tables and all(each.data_type == onnx.TensorProto.INT8 for each in tables)
    sizes = [(folder / "model.onnx").stat().st_size for folder in (exported_int8, exported)]
    assert sizes[0] < sizes[1]


def test_a_scorer_without_token_head_has_no_token_logits(
    family: Callable[[str], Path], tmp_path: Path
) -> None:
    saved = save_scorer(family("roberta"), tmp_path / "run", head="cls", ratio_map=CURVE)
    export_onnx(saved.path, tmp_path / "onnx")
    found = read(tmp_path / "onnx", *texts(saved.model, 2, 20))
    assert set(found) == set(OUTPUTS)
    assert_same(tmp_path / "onnx", saved.model, 4, 20)
    assert TOKEN_LOGITS not in (tmp_path / "onnx" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("way", ["masked", "masked once", "causal"])
def test_likelihoods_come_through_as_well(
    way: str, scorer_config: Config, mlm_path: Path, tmp_path: Path
) -> None:
    tokenizer = load_tokenizer(mlm_path)
    reader = mlm_path
    if way == "causal":
        from transformers import LlamaConfig, LlamaForCausalLM

        reader = tmp_path / "causal"
        torch.manual_seed(0)
        LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=16,
                pad_token_id=tokenizer.pad_token_id,
            )
        ).save_pretrained(reader)
        tokenizer.save_pretrained(str(reader))
    config = dataclasses.replace(
        scorer_config, likelihood_model=str(reader), likelihood_passes=2 if way == "masked" else 0
    )
    model = build_scorer(config, tokenizer).eval()
    loud(model)
    model.save_pretrained(tmp_path / "run")
    tokenizer.save_pretrained(str(tmp_path / "run"))
    export_onnx(tmp_path / "run", tmp_path / "onnx")
    assert_same(tmp_path / "onnx", model, 5, 21)


def test_every_output_that_is_off_is_found_out(exported: Path, loud_scorer: Path) -> None:
    path = exported / "model.onnx"
    true = load_scorer(loud_scorer)
    assert find_fault(true, path, int8=False) is None
    wrong = {
        "token_logits": lambda model: model.channel_head.weight.mul_(1.1),
        "high": lambda model: model.interval_head.bias[1].add_(0.001),
        "low": lambda model: model.interval_head.bias[0].add_(0.001),
        "synthenticity": lambda model: model.cls_head.bias.add_(0.001),
    }
    for name, change in wrong.items():
        model = load_scorer(loud_scorer)
        with torch.no_grad():
            change(model)
        found = find_fault(model, path, int8=False)
        assert found is not None and found.startswith(f"{name}, by"), (name, found)
        assert find_fault(model, path, int8=True) is None  # 8 bits round by more
    for length in (LEAST_TEXT, true.config.block_size):
        assert_found_at(true, path, length)


def assert_found_at(model: SequenceScorer, path: Path, length: int) -> None:
    """Be off in windows of one length alone, and see that it is found."""
    forward = model.forward

    def off(ids: torch.Tensor, visible: torch.Tensor) -> Any:
        said = forward(ids, visible)
        if ids.shape[1] == length:
            said.token_logits[-1, 1] += 1
        return said

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "forward", off)
        found = find_fault(model, path, int8=False)
    assert found is not None and found.startswith("token_logits, by")


@pytest.mark.parametrize(
    ("name", "apart", "int8", "right"),
    [
        ("synthenticity", 0.9e-5, False, True),
        ("synthenticity", 1.1e-5, False, False),
        ("synthenticity", 0.004, True, True),
        ("synthenticity", 0.006, True, False),  # of all windows, so of their mean
        ("logit", 3.9e-5, False, True),  # at most a quarter of it is felt
        ("token_logits", float("nan"), False, False),
    ],
)
def test_the_trial_allows_what_the_docs_promise(
    name: str, apart: float, int8: bool, right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = {name: np.zeros((2, 3)) + 0.2}
    theirs = {name: ours[name] + apart}
    shown = np.ones((2, 3), dtype=bool)
    monkeypatch.setattr(onnx_trial, "_said", lambda *_: [(ours, theirs, shown)])
    fault = find_fault(None, Path("model.onnx"), int8=int8)  # type: ignore[arg-type]
    assert (fault is None) == right


def test_trial_windows_are_framed_and_padded_as_real_ones(loud_scorer: Path) -> None:
    model, tokenizer = load_scorer(loud_scorer), load_tokenizer(loud_scorer)
    longest = model.config.block_size
    ids, visible = trial_windows(model, 4, 10_000)
    assert ids.shape == visible.shape == (4, longest)
    assert (ids[:, 0] == tokenizer.cls_token_id).all()
    assert visible.sum(dim=1).tolist() == [longest, longest // 2] * 2
    assert (ids[visible == 0] == tokenizer.pad_token_id).all()
    assert not np.isin(ids[:, 1:][visible[:, 1:] == 1], model.config.special_token_ids).any()
    assert trial_windows(model, 2, LEAST_TEXT)[1].all()


def test_a_missing_extra_is_named(
    loud_scorer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"synthenticity\[onnx\]"):
        export_onnx(loud_scorer, tmp_path / "onnx")


def test_a_conversion_that_fails_or_lies_leaves_nothing(
    loud_scorer: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copied(_scorer: object, path: Path) -> None:
        shutil.copy(exported / "model.onnx", path)

    monkeypatch.setattr(onnx_export, "_write", copied)
    monkeypatch.setattr(onnx_export, "find_fault", lambda *_, **__: "logit, by 0.5")
    for int8, advice in ((False, "Use Scorer"), (True, "Export without --int8")):
        with pytest.raises(ModelError, match=rf"says other logit, by 0.5. {advice}"):
            export_onnx(loud_scorer, tmp_path / "onnx", int8=int8)

    def failing(*_: object) -> None:
        raise RuntimeError("no such operator\nand more")

    monkeypatch.setattr(onnx_export, "_write", failing)
    with pytest.raises(ModelError, match=r"cannot be put into ONNX \(no such operator\)"):
        export_onnx(loud_scorer, tmp_path / "onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_a_folder(
    loud_scorer: Path,
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        onnx_export, "_write", lambda _scorer, path: shutil.copy(exported / "model.onnx", path)
    )
    place = tmp_path / "onnx"
    assert cli.run(["export", str(loud_scorer), "--to", "onnx", "--out", str(place), "--json"]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert set(files) == {path.name for path in place.iterdir()}
    assert {"model.onnx", "tokenizer.json", "README.md"} <= set(files)
