"""The demo does everything once; here with hardly any training."""

import html
import json
import math
import shlex
from pathlib import Path

import pytest

from synthenticity import cli, demo


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a demo that trained a few steps."""
    patch = pytest.MonkeyPatch()
    tiny = demo.Budget(mlm_iters=6, scorer_iters=4, plan_iters=4, scorer_files=1)
    patch.setitem(demo.BUDGETS, "fast", tiny)
    out = tmp_path_factory.mktemp("demo") / "out"
    assert cli.run(["demo", "--out", str(out), "--json"]) == cli.GOOD
    patch.undo()
    return out


def test_results_hold_what_is_promised(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text(encoding="utf-8"))
    figures = [results["scorer"][key] for key in ("mae", "pearson", "token_auroc")]
    figures += [results["baselines"][name]["mae"] for name in ("mean", "ngram_ridge")]
    figures += [results["plan_recipe"]["mae"], results["seconds"]]
    figures += [each["mae"] for each in results["limits"].values()]
    assert all(isinstance(figure, float) and math.isfinite(figure) for figure in figures)
    assert results["test_sequences"] > 500


def test_mean_baseline_is_what_a_uniform_ratio_makes_it(finished: Path) -> None:
    results = json.loads((finished / "results.json").read_text(encoding="utf-8"))
    assert results["baselines"]["mean"]["mae"] == pytest.approx(0.15, abs=0.01)


def test_test_documents_were_never_trained_on(finished: Path) -> None:
    from synthenticity.stream.dataset_consumer import DatasetConsumer

    seen: dict[str, set[str]] = {}
    for name, split in (("mlm_data", "train"), ("scorer_data", "train"), ("scorer_data", "test")):
        consumer = DatasetConsumer(finished / name, batch_size=1, split=split, columns=["document"])
        seen[f"{name} {split}"] = set(consumer.read_all()["document"].tolist())
    assert all(seen.values())
    assert sum(map(len, seen.values())) == len(set.union(*seen.values()))


def test_report_shows_the_figures_and_the_text(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    results = json.loads((finished / "results.json").read_text(encoding="utf-8"))
    assert page.count("<svg") == 6 and page.count("class='heat'") == 3
    for name in ("the first recipe", "MLM pseudo-log-likelihood", "the genie"):
        assert f"<th scope='row'>{name}" in page
    assert page.count(html.escape(demo.ABOUT_RECIPES)) == 1
    assert f"{results['scorer']['mae']:.3f}" in page


def test_the_scorer_of_the_demo_scores(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.txt").write_text("To be, or not to be.\n" * 30, encoding="utf-8")
    assert cli.run(["score", str(finished / "scorer"), str(tmp_path / "t.txt")]) == cli.GOOD
    assert "synthenticity 0." in capsys.readouterr().out


def test_the_commands_it_names_do_what_it_did(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = json.loads((finished / "results.json").read_text(encoding="utf-8"))
    before = {path: path.read_bytes() for path in finished.glob("*_data/*/*.parquet")}
    for command in " && ".join(results["commands"]).split(" && "):
        program, *arguments = shlex.split(command)
        assert program == "synthenticity"
        assert cli.run(arguments) == cli.GOOD, capsys.readouterr().err
    assert {path: path.read_bytes() for path in finished.glob("*_data/*/*.parquet")} == before
    assert "already complete" in capsys.readouterr().out


def test_a_demo_of_another_budget_is_not_gone_on_with(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "results.json").read_bytes()
    assert cli.run(["demo", "--out", str(finished), "--budget", "full"]) == cli.USER_ERROR
    assert "holds a demo with other settings than --budget full" in capsys.readouterr().err
    assert (finished / "results.json").read_bytes() == before


@pytest.mark.slow
def test_the_fast_demo_is_as_good_as_the_readme_says(tmp_path: Path) -> None:
    assert cli.run(["demo", "--out", str(tmp_path / "demo"), "--json"]) == cli.GOOD
    results = json.loads((tmp_path / "demo" / "results.json").read_text(encoding="utf-8"))
    assert results["baselines"]["mean"]["mae"] == pytest.approx(0.149, abs=0.01)
    assert results["scorer"]["mae"] < 0.085
    assert results["scorer"]["token_auroc"] > 0.65
    assert results["scorer"]["human_mean"] < 0.12
