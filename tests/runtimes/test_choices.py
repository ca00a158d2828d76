"""What settings say is what computes, data know it, and what cannot be is refused in words."""

import dataclasses
import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kinds import KINDS, kind
from rich.console import Console
from test_runtimes import build, opened

from synthenticity.config import Config
from synthenticity.data_card import int8_words
from synthenticity.errors import ConfigError, MissingExtraError, ModelError
from synthenticity.providers.prepare import prepare
from synthenticity.records.run import fill_corpus
from synthenticity.runtimes.conversion import check_conversion, parts_to_convert
from synthenticity.runtimes.devices import torch_arithmetic
from synthenticity.runtimes.opening import open_runtime
from synthenticity.stream.dataset_consumer import DatasetConsumer
from synthenticity.synthesis.calibration import TEXTS, sample_texts
from synthenticity.synthesis.filling_model import load_filling_model
from synthenticity.terminal import FillView, PrepareView
from synthenticity.text.reading import CorpusSource
from synthenticity.training.train import train

CPU = torch.device("cpu")
INT8 = [kind("openvino", "int8", needs=("nncf",))]


@pytest.mark.parametrize(("runtime", "dtype"), KINDS)
def test_data_are_made_in_every_arithmetic_and_know_which(
    scorer_config: Config, tmp_path: Path, runtime: str, dtype: str
) -> None:
    config = dataclasses.replace(scorer_config, runtime=runtime, dtype=dtype, data_dir="unused")
    summary = prepare(config, tmp_path / "data", files=1)
    meta = json.loads((tmp_path / "data" / "meta.json").read_text(encoding="utf-8"))
    (model,) = meta["made_with"]["models"].values()
    assert runtime in model["arithmetic"] and dtype in model["arithmetic"]
    card = (tmp_path / "data" / "README.md").read_text(encoding="utf-8")
    for said in (model, summary):
        assert ("int8" in said) == (dtype == "int8")
    assert ("int8 moves its predictions by" in card) == (dtype == "int8")
    made = DatasetConsumer(tmp_path / "data", batch_size=4, split="val").read_all()
    usual = DatasetConsumer(scorer_config.data_dir, batch_size=4, split="val").read_all()
    rows = slice(len(made["targets"]))
    assert np.array_equal(made["targets"], usual["targets"][rows])
    assert (made["input_ids"] == usual["input_ids"][rows]).mean() > 0.97


@pytest.mark.parametrize("device", [CPU, torch.device("cuda")])
@pytest.mark.parametrize("packed", [False, True])
def test_arithmetic_says_the_version_and_the_precision_of_products(
    device: torch.device, packed: bool
) -> None:
    usual = torch_arithmetic(device, torch.float32, packed=packed)
    torch.set_float32_matmul_precision("medium")
    try:
        other = torch_arithmetic(device, torch.float32, packed=packed)
    finally:
        torch.set_float32_matmul_precision("highest")
    version = torch.__version__.split("+")[0]
    assert usual.startswith(f"torch {version} {device.type} float32")
    assert other == f"{usual} medium" and usual.endswith(" packed") == packed


@pytest.mark.parametrize(("runtime", "dtype"), INT8)
def test_int8_says_what_stays_floating_and_what_chose_its_scales(runtime: str, dtype: str) -> None:
    found = opened("bert", runtime, dtype)
    version = importlib.import_module("nncf").__version__
    words = rf"openvino \S+ cpu int8\+(bfloat16|float32) nncf {re.escape(version)} [0-9a-f]{{12}}"
    assert re.fullmatch(words, found.arithmetic)


@pytest.mark.parametrize(("runtime", "dtype"), INT8)
def test_what_int8_changes_is_said_of_filled_and_prepared_texts(
    scorer_config: Config, tmp_path: Path, runtime: str, dtype: str
) -> None:
    config = dataclasses.replace(scorer_config, runtime=runtime, dtype=dtype, data_dir="unused")
    filled = fill_corpus(dataclasses.replace(config, split_by="document"), tmp_path / "filled")
    (figures,) = FillView.summary(filled)["int8"].values()
    assert 0 < figures["divergence_nats"] < 0.01
    words = int8_words(figures)
    assert words in (tmp_path / "filled" / "README.md").read_text(encoding="utf-8")
    prepared = PrepareView.summary_table("", prepare(config, tmp_path / "prepared", files=1))
    for table in (FillView.result_table(filled), prepared):
        console = Console(width=200)
        with console.capture() as shown:
            console.print(table)
        assert shown.get().count(words) == 1


@pytest.mark.parametrize(("runtime", "dtype"), INT8)
def test_int8_is_calibrated_alike_every_time(
    scorer_config: Config, tmp_path: Path, runtime: str, dtype: str
) -> None:
    config = dataclasses.replace(scorer_config, runtime=runtime, dtype=dtype, data_dir="unused")
    for name in ("one", "two"):
        prepare(config, tmp_path / name, files=1, splits=("train",))
    one, two = (
        sorted((tmp_path / name / "train").glob("*.parquet"))[0].read_bytes()
        for name in ("one", "two")
    )
    assert one == two


@pytest.mark.parametrize(("runtime", "dtype"), INT8)
def test_int8_fills_nothing_before_it_is_calibrated(
    mlm_path: Path, corpus_folder: Path, runtime: str, dtype: str
) -> None:
    engine: Any = load_filling_model(mlm_path, runtime=runtime, dtype=dtype)
    ids = np.full((2, 16), 9)
    with pytest.raises(ModelError, match="int8 has no scales yet"):
        engine.fill(ids, ids > 0, sequence_keys=np.arange(2))
    with pytest.raises(ModelError, match="3 texts are too few"):
        engine.calibrate(["a king and his fool"] * 3)
    engine.calibrate(sample_texts(CorpusSource(source=str(corpus_folder))))
    assert engine.calibrated and 0 < engine.accuracy.divergence < 0.01
    assert (engine.fill(ids, ids > 0, sequence_keys=np.arange(2)).rank >= 0).all()


@pytest.mark.parametrize(("runtime", "dtype"), INT8)
def test_a_model_that_does_not_bear_int8_is_refused(
    mlm_path: Path, corpus_folder: Path, monkeypatch: Any, runtime: str, dtype: str
) -> None:
    monkeypatch.setattr("synthenticity.synthesis.calibration.MOST_DIVERGENCE", 1e-12)
    engine: Any = load_filling_model(mlm_path, runtime=runtime, dtype=dtype)
    with pytest.raises(ModelError, match=r"moves the predictions of .* nats, more than"):
        engine.calibrate(sample_texts(CorpusSource(source=str(corpus_folder))))
    assert not engine.calibrated
    ids = np.full((2, 16), 9)
    with pytest.raises(ModelError, match="int8 has no scales yet"):
        engine.fill(ids, ids > 0, sequence_keys=np.arange(2))


@pytest.mark.parametrize(
    ("device", "dtype", "runtime", "words"),
    [
        ("cpu", "int8", "torch", "int8 in torch takes its scale from a row's neighbours"),
        ("cpu", "int8", "onnx", "int8 is not computed by onnx"),
        ("cpu", "bfloat16", "onnx", "bfloat16 is not computed by onnx"),
        ("cpu", "float16", "openvino", "float16 is not computed here. Set dtype to one of auto"),
        ("cpu", "float64", "onnx", "float64 is not computed here"),
        ("cuda", "float32", "openvino", "openvino computes on the CPU, not on cuda"),
        ("cuda", "int8", "auto", "openvino computes on the CPU, not on cuda"),
    ],
)
def test_what_a_runtime_cannot_compute_is_refused(
    device: str, dtype: str, runtime: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        open_runtime(build("bert"), torch.device(device), dtype, runtime)


@pytest.mark.parametrize(
    ("runtime", "dtype", "extra"),
    [
        ("openvino", "float32", "openvino"),
        ("openvino", "int8", "int8"),
        ("auto", "int8", "int8"),
        ("onnx", "float32", "onnx"),
    ],
)
def test_a_runtime_that_is_not_installed_names_its_extra(
    monkeypatch: Any, runtime: str, dtype: str, extra: str
) -> None:
    for name in ("openvino", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=rf'pip install "synthenticity\[{extra}\]"'):
        open_runtime(build("bert"), CPU, dtype, runtime)


@pytest.mark.parametrize(("runtime", "dtype"), KINDS[2:3])
def test_a_conversion_that_computes_something_else_is_refused(
    monkeypatch: Any, runtime: str, dtype: str
) -> None:
    conversion = importlib.import_module("synthenticity.runtimes.conversion")
    monkeypatch.setattr(conversion, "choose_attention_to_convert", lambda model: None)
    with pytest.raises(ModelError, match="does not compute this modernbert model as PyTorch does"):
        open_runtime(build("modernbert"), CPU, dtype, runtime)


def test_a_conversion_that_fails_at_another_shape_is_refused_in_words() -> None:
    class Tied:
        def hidden_at(self, *_: Any) -> Any:
            raise RuntimeError("got shape [3, 48], expected [2, 32]")

    encoder, _ = parts_to_convert(build("bert"))
    with pytest.raises(ModelError, match=r"Some Runtime cannot take this bert model \(got shape"):
        check_conversion(build("bert"), encoder, Tied(), "Some Runtime")


def test_nothing_is_trained_in_int8(scorer_config: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="dtype: int8 is for filling"):
        train(dataclasses.replace(scorer_config, dtype="int8"), tmp_path)


def test_calibration_takes_pieces_of_many_documents(corpus_folder: Path, tmp_path: Path) -> None:
    texts = sample_texts(CorpusSource(source=str(corpus_folder)))
    starts = {path.read_text(encoding="utf-8")[:50] for path in corpus_folder.iterdir()}
    assert {text[:50] for text in texts} >= starts
    (tmp_path / "long.txt").write_text("a long tale. " * 400_000, encoding="utf-8")
    assert 8 <= len(sample_texts(CorpusSource(source=str(tmp_path)))) <= TEXTS
    with pytest.raises(ConfigError, match="standard input cannot be read twice"):
        sample_texts(CorpusSource(source="-"))


def test_sequences_that_are_masked_whole_are_read_once(
    scorer_config: Config, tmp_path: Path
) -> None:
    config = dataclasses.replace(scorer_config, all_filled_share=0.5, data_dir="unused")
    summaries = [
        prepare(dataclasses.replace(config, fill_cache_mib=mebibytes), tmp_path / name, files=2)
        for name, mebibytes in (("kept", 64), ("not kept", 0))
    ]
    kept, not_kept = (summary["readings_spared"] for summary in summaries)
    assert kept > 0.3 * summaries[0]["sequences"] and not_kept == 0
    one, two = (
        [path.read_bytes() for path in sorted((tmp_path / name).glob("*/*.parquet"))]
        for name in ("kept", "not kept")
    )
    assert one == two and len(one) == 4


def test_data_made_again_are_not_read_again_and_are_the_same_from_a_damaged_store(
    scorer_config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = dataclasses.replace(
        scorer_config, fill_cache_dir=str(tmp_path / "rows"), data_dir="unused"
    )
    first, second = (prepare(config, tmp_path / name, files=1) for name in ("one", "two"))
    assert second["readings_spared"] > first["readings_spared"]
    assert second["readings_spared"] > 0.5 * second["sequences"]  # all but the untouched
    assert not caplog.records
    store = tmp_path / "rows" / "rows.sqlite"
    pages = store.read_bytes()[:4096]
    store.write_bytes(pages + bytes([7]) * (store.stat().st_size - len(pages)))
    third = prepare(dataclasses.replace(config, fill_cache_mib=0), tmp_path / "three", files=1)
    assert third["readings_spared"] < second["readings_spared"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    one, two, three = (
        [path.read_bytes() for path in sorted((tmp_path / name).glob("*/*.parquet"))]
        for name in ("one", "two", "three")
    )
    assert one == two == three
