"""The measurements count what they say, and the page of them leads where it says."""

import ast
import importlib
import json
import runpy
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _beside_the_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def test_counted_operations_are_those_of_the_encoder() -> None:
    from fill_shapes import SHAPES

    for shape in SHAPES.values():
        config = BertConfig(**shape.config, attn_implementation="eager")
        with torch.device("meta"):
            encoder = BertModel(config, add_pooling_layer=False).eval()
            ids = torch.zeros(3, shape.length, dtype=torch.long)
            with FlopCounterMode(display=False) as counter:
                encoder(input_ids=ids)
        assert counter.get_total_flops() == shape.operations_a_token * ids.numel(), shape.name


def test_the_cost_model_says_what_the_measurements_beside_it_give() -> None:
    import cost_model

    assert cost_model.figures("cost_model") == cost_model.compute()
    assert cost_model.figures("cost_model_files") == cost_model.files()


def test_no_two_calls_are_given_the_same_rows_and_all_ways_are_given_those() -> None:
    from fill_shapes import SHAPES, draw_batch

    shape = SHAPES["tiny"]
    batches = [draw_batch(shape, ratio, seed, 8) for ratio in (0.15, 0.5) for seed in range(5)]
    assert len({batch.ids.tobytes() for batch in batches}) == len(batches)
    assert draw_batch(shape, 0.5, 4, 8).ids.tobytes() == batches[-1].ids.tobytes()
    assert all(batch.ids.min() >= shape.special for batch in batches)


def test_an_object_in_its_own_process_answers_and_its_errors_come_back() -> None:
    from own_process import OwnProcess

    with OwnProcess(dict, {"a": 1}) as other:
        assert other.call("get", "a") == 1
        with pytest.raises(RuntimeError, match="KeyError: 'b'"):
            other.call("pop", "b")
        assert other.call("get", "a") == 1
    with pytest.raises(RuntimeError, match="ValueError"):
        OwnProcess(int, "no number")


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda p: p.stem)
def test_what_a_script_takes_from_the_library_is_there(path: Path) -> None:
    """They run for minutes to hours, so no test runs them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("synthenticity"):
            module = importlib.import_module(node.module)
            for name in node.names:
                if not hasattr(module, name.name):
                    importlib.import_module(f"{node.module}.{name.name}")


def test_figures_without_versions_and_those_with_are_both_shown() -> None:
    measured_on = runpy.run_path(str(ROOT / "docs" / "generate.py"))["measured_on"]
    old = {"command": "c", "date": "d", "machine": "m"}
    assert measured_on(old) == "`c`, d, m"
    new = {**old, "threads": 2, "versions": {"torch": "2"}, "revision": "abc", "modified": True}
    assert measured_on(new) == "`c`, d, m; threads: 2; torch 2; revision `abc`, with changes"


def test_the_table_of_contents_names_every_heading_once() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    anchor = runpy.run_path(str(ROOT / "docs" / "generate.py"))["anchor"]
    lines = page.splitlines()
    headings = [anchor(line.lstrip("# ")) for line in lines if line.startswith(("## ", "### "))]
    links = [line.split("](#")[1][:-1] for line in lines if line.lstrip().startswith("- [")]
    assert links == headings
    assert len(set(links)) == len(links) > 10


def test_every_measurement_has_its_place_in_the_page() -> None:
    in_order = runpy.run_path(str(ROOT / "docs" / "generate.py"))["in_order"]
    placed = [path for paths in in_order().values() for path in paths]
    assert sorted(placed) == sorted((ROOT / "benchmarks").glob("*.json"))
    for path in placed:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        assert len({tuple(row) for row in rows}) == 1, f"{path.name}: rows have other keys"
