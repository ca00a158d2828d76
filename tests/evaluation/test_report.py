"""The report: one page that needs nothing else and shows text as text."""

import re
from pathlib import Path

import numpy as np
import pytest

from synthenticity.evaluation.report import HeatSample, ReportData, write_report


def report_data(**changes: object) -> ReportData:
    rng = np.random.default_rng(0)
    true = rng.uniform(0.1, 0.7, 60)
    figures = {"mae": 0.0521, "pearson": 0.9, "r2": 0.8, "token_auroc": 0.7, "human_mean": 0.05}
    values = {
        "results": {
            "scorer": figures,
            "plan_recipe": {"mae": 0.1, "pearson": 0.1},
            "baselines": {"mean": {"mae": 0.15}, "ngram_ridge": {"mae": 0.04}},
            "mlm": {"loss": 2.3, "accuracy": 0.3},
            "window_characters": 20,
            "test_documents": ["a<b>"],
        },
        "true": true,
        "predicted": {"scorer": true + 0.05, "n-gram ridge": true - 0.02},
        "training_targets": rng.random(100),
        "token_probabilities": rng.random((60, 20)).astype(np.float32),
        "token_labels": rng.integers(0, 3, (60, 20)),
        "samples": [
            HeatSample("x & y", ["<", "b", ">"], np.array([0.0, 0.5, 1.0]), np.arange(3), 0.4, 0.5)
        ],
        "commands": ["synthenticity demo > x"],
    }
    return ReportData(**{**values, **changes})


def test_the_page_is_self_contained_and_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        write_report(tmp_path / name, report_data())
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert page == (tmp_path / "b.html").read_text(encoding="utf-8")
    assert not re.findall(r"(?:src|href)=[\"'](?!#)", page)
    assert page.count("<svg") == 4 and "0.052" in page


def test_text_is_shown_as_text(tmp_path: Path) -> None:
    write_report(tmp_path / "r.html", report_data())
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "<b>" not in page and "a&lt;b&gt;" in page and "x &amp; y" in page
    assert "synthenticity demo &gt; x" in page
    tokens = re.findall(r"<span( class='\w+')? style='[^']+' title='([\d.]+)'>([^<]+)</span>", page)
    assert tokens == [
        ("", "0.00", "&lt;"),
        (" class='restored'", "0.50", "b"),
        (" class='replaced'", "1.00", "&gt;"),
    ]


@pytest.mark.parametrize("changes", [{"token_probabilities": None}])
def test_a_scorer_without_token_head_has_a_report_too(
    changes: dict[str, object], tmp_path: Path
) -> None:
    sample = HeatSample("t", ["a"], None, np.array([2]), 1.0, 0.5)
    write_report(tmp_path / "r.html", report_data(samples=[sample], **changes))
    assert "class='replaced'>a</span>" in (tmp_path / "r.html").read_text(encoding="utf-8")
