"""A scorer as a stock class of transformers: the same numbers, without a line of ours."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scorers import CURVE, LINE, save_scorer

from synthenticity import cli
from synthenticity.errors import ConfigError, ModelError
from synthenticity.scoring import stock_export
from synthenticity.scoring.scorer import Scorer
from synthenticity.scoring.stock_export import TEXTS, TOKENS, export_stock, stock_model

FAMILIES = ["bert-cased", "roberta", "distilbert", "electra", "deberta-v2", "modernbert"]
TEXTS_TO_READ = [
    "the king and his fool went to a hall",
    "night fell on [MASK] [CLS] stone",
    "who speaks? not I!",
]
Family = Callable[[str], Path]


def without_us(program: str, *arguments: object) -> Any:
    """Run a program where this package cannot be imported, and return the JSON that it prints."""
    lines = [
        "import sys, json",
        "sys.modules['synthenticity'] = None  # wherever it is installed",
        "try:",
        "    import synthenticity",
        "except ImportError:",
        "    pass",
        "else:",
        "    raise AssertionError('the package is here')",
        program,
    ]
    done = subprocess.run(
        [sys.executable, "-I", "-c", "\n".join(lines), *map(str, arguments)],
        env={"HF_HUB_OFFLINE": "1", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


TOKEN_PIPELINE = """
from transformers import pipeline
said = pipeline("token-classification", sys.argv[1])(json.loads(sys.argv[2]))
machine = [t["score"] if t["entity"] == "machine" else 1 - t["score"] for one in said for t in one]
print(json.dumps([float(value) for value in machine]))
"""
TEXT_PIPELINE = """
from transformers import pipeline
said = pipeline("text-classification", sys.argv[1])(json.loads(sys.argv[2]))
print(json.dumps([each["score"] for each in said]))
"""


def said_by_pipeline(task: str, folder: Path) -> Any:
    from transformers import pipeline

    return pipeline(task, str(folder))(TEXTS_TO_READ, batch_size=2)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_stock_pipeline_says_each_tokens_probability(
    name: str, family: Family, tmp_path: Path
) -> None:
    saved = save_scorer(family(name), tmp_path / "run", ratio_map=CURVE)
    export_stock(saved.path, TOKENS, tmp_path / "stock")
    said = said_by_pipeline(TOKENS, tmp_path / "stock")
    scorer = Scorer.from_pretrained(saved.path, device="cpu")
    for tokens, score in zip(said, scorer.score(TEXTS_TO_READ), strict=True):
        machine = [t["score"] if t["entity"] == "machine" else 1 - t["score"] for t in tokens]
        assert np.allclose(machine, score.probabilities, rtol=0, atol=1e-5)
        assert np.ptp(machine) > 0.01


def test_pipelines_need_none_of_this_package(family: Family, tmp_path: Path) -> None:
    for kind, head, program in (
        (TOKENS, "token", TOKEN_PIPELINE),
        (TEXTS, "cls", TEXT_PIPELINE),
    ):
        saved = save_scorer(family("modernbert"), tmp_path / head, head=head, ratio_map=CURVE)
        export_stock(saved.path, kind, tmp_path / kind)
        said = without_us(program, tmp_path / kind, json.dumps(TEXTS_TO_READ))
        scores = Scorer.from_pretrained(saved.path, device="cpu").score(TEXTS_TO_READ)
        if kind == TOKENS:
            expected = np.concatenate([score.probabilities for score in scores])
        else:
            expected = np.array([score.synthenticity for score in scores])
        assert np.allclose(said, expected, rtol=0, atol=1e-5)


def test_a_text_is_framed_as_a_window_is(family: Family, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    saved = save_scorer(family("bert-cased"), tmp_path / "run")
    export_stock(saved.path, TOKENS, tmp_path / "stock")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "stock")
    read = tokenizer("the king", truncation=True)
    words = tokenizer.convert_ids_to_tokens(read["input_ids"])
    assert words[0] == "[CLS]" and "[SEP]" not in words
    assert set(read) == {"input_ids", "attention_mask"}
    assert tokenizer.model_max_length == 32
    assert len(tokenizer("the king " * 60, truncation=True)["input_ids"]) == 32
    assert tokenizer.cls_token_id not in tokenizer("a [CLS]")["input_ids"][1:]


def test_the_stock_model_has_labels_and_no_path_of_this_machine(
    family: Family, tmp_path: Path
) -> None:
    from transformers import AutoModelForTokenClassification

    saved = save_scorer(family("bert-cased"), tmp_path / "run")
    export_stock(saved.path, TOKENS, tmp_path / "stock")
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "stock")
    assert type(model).__name__ == "BertForTokenClassification"
    assert model.config.id2label == {0: "human", 1: "machine"}
    for path in (tmp_path / "stock").glob("*.json"):
        assert str(tmp_path.parent) not in path.read_text(encoding="utf-8")
    assert "pipeline" in (tmp_path / "stock" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("ratio_map", [LINE, CURVE], ids=["line", "curve"])
@pytest.mark.parametrize("name", ["bert-cased", "roberta", "electra", "deberta", "modernbert"])
def test_a_cls_scorer_is_a_sequence_classifier_with_its_map(
    name: str, ratio_map: tuple[float, ...], family: Family, tmp_path: Path
) -> None:
    saved = save_scorer(family(name), tmp_path / "run", head="cls", ratio_map=ratio_map)
    export_stock(saved.path, TEXTS, tmp_path / "stock")
    said = said_by_pipeline("text-classification", tmp_path / "stock")
    expected = Scorer.from_pretrained(saved.path, device="cpu")(TEXTS_TO_READ)
    assert {each["label"] for each in said} == {"synthenticity"}
    assert np.allclose([each["score"] for each in said], expected, rtol=0, atol=1e-5)
    assert np.ptp(expected) > 1e-3


@pytest.mark.parametrize("size", [0.1, 1, 8])
def test_far_logits_come_through_as_well(size: float, family: Family, tmp_path: Path) -> None:
    saved = save_scorer(family("bert-cased"), tmp_path / "run", head="cls", ratio_map=CURVE)
    with torch.no_grad():
        saved.model.cls_head.weight.mul_(size)
        ids = torch.randint(5, 60, (200, 12), generator=torch.Generator().manual_seed(3))
        expected = saved.model(ids).synthenticity
        found = stock_model(saved.model, TEXTS)(input_ids=ids).logits[:, 0].sigmoid()
    assert float((found - expected).abs().max()) < 1e-5


def test_a_map_that_units_with_a_bend_cannot_say_is_refused(family: Family, tmp_path: Path) -> None:
    """DistilBERT's are rectified: 32 of them make a polygon of the map."""
    saved = save_scorer(family("distilbert"), tmp_path / "run", head="cls", ratio_map=CURVE)
    with pytest.raises(ModelError, match=r"cannot say the scorer's logit .*Export to onnx"):
        export_stock(saved.path, TEXTS, tmp_path / "stock")
    assert not (tmp_path / "stock").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


@pytest.mark.parametrize(
    ("settings", "kind", "why"),
    [
        ({"ngram_sizes": [2], "ngram_bits": 4}, TOKENS, r"reads n-grams .*ngram_sizes = \[\]"),
        ({"ngram_sizes": [2], "ngram_bits": 4, "head": "cls"}, TEXTS, "reads n-grams .*onnx"),
        ({}, TEXTS, "is the mean over tokens, .*token-classification or onnx"),
        ({"head": "cls"}, TOKENS, "has no token head .*sequence-classification or onnx"),
    ],
)
def test_what_stock_classes_cannot_express_is_refused_with_advice(
    settings: dict[str, Any], kind: str, why: str, family: Family, tmp_path: Path
) -> None:
    saved = save_scorer(family("bert-cased"), tmp_path / "run", **settings)
    with pytest.raises(ModelError, match=why):
        export_stock(saved.path, kind, tmp_path / "stock")
    assert not (tmp_path / "stock").exists()


def test_a_stock_class_that_says_something_else_is_found_out(
    family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = save_scorer(family("bert-cased"), tmp_path / "run")
    monkeypatch.setattr(stock_export, "set_head", lambda *_: None)
    with pytest.raises(ModelError, match="says other probabilities"):
        export_stock(saved.path, TOKENS, tmp_path / "stock")


def test_a_folder_that_holds_something_is_left_alone(family: Family, tmp_path: Path) -> None:
    saved = save_scorer(family("bert-cased"), tmp_path / "run")
    (tmp_path / "stock").mkdir()
    (tmp_path / "stock" / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="is there already"):
        export_stock(saved.path, TOKENS, tmp_path / "stock")
    with pytest.raises(ConfigError, match="its folder does not exist"):
        export_stock(saved.path, TOKENS, tmp_path / "nowhere" / "stock")
    assert [path.name for path in (tmp_path / "stock").iterdir()] == ["mine.txt"]


def test_the_command_says_what_it_wrote_and_what_it_cannot(
    scorer_path: Path, family: Family, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = save_scorer(family("bert-cased"), tmp_path / "run")
    arguments = ["export", str(saved.path), "--to", TOKENS, "--out", str(tmp_path / "stock")]
    assert cli.run([*arguments, "--json"]) == cli.GOOD
    files = json.loads(capsys.readouterr().out)["files"]
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= set(files)
    assert cli.run([*arguments[:-1], str(tmp_path / "x"), "--int8"]) == cli.USER_ERROR
    assert "--int8: is for --to onnx" in capsys.readouterr().err
    assert cli.run(["export", str(scorer_path), *arguments[2:-1], str(tmp_path / "y")]) == 2
    said = capsys.readouterr().err
    assert "reads n-grams" in said and "ngram_sizes = []" in said
