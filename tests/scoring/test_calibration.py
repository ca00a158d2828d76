"""A calibration belongs to its weights, and says of a value what was found on a user's text."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from synthenticity.errors import CompatibilityError, ModelError
from synthenticity.scoring.calibration import (
    CALIBRATION_FILE,
    Calibration,
    load_calibration,
    weights_fingerprint,
)
from synthenticity.scoring.scorer import Scorer

TEXT = "the king and his fool went to a hall where night fell on stone; " * 2


@pytest.fixture
def run(scorer_path: Path, tmp_path: Path) -> Path:
    """A scorer's folder that may be written to."""
    return Path(shutil.copytree(scorer_path, tmp_path / "run"))


def a_calibration(run: Path) -> Calibration:
    return Calibration(
        weights_fingerprint(run), (0.0, 0.5, 1.0), (0.0, 0.1, 1.0), 0.02, {"0.01": 0.05}
    )


def test_it_is_read_as_it_was_written(run: Path) -> None:
    assert load_calibration(run) is None
    made = a_calibration(run)
    made.save(run)
    found = load_calibration(run)
    assert found.alarms(0.06) == {"0.01": True} and found.alarms(0.05) == {"0.01": False}
    values = np.linspace(-0.1, 1.1, 13)
    assert np.array_equal(found.mapped(values), made.mapped(values))
    assert found.weights == made.weights


def test_a_map_is_a_line_between_knots_and_level_beyond_them(run: Path) -> None:
    mapped = a_calibration(run).mapped(np.array([-1.0, 0.0, 0.25, 0.5, 0.75, 2.0]))
    assert mapped.tolist() == pytest.approx([0.0, 0.0, 0.05, 0.1, 0.55, 1.0])


def test_intervals_are_mapped_then_widened_and_stay_between_0_and_1(run: Path) -> None:
    intervals, values = np.array([[0.25, 0.5], [0.0, 1.0]]), np.array([0.375, 0.5])
    found = a_calibration(run).mapped_intervals(intervals, values)
    np.testing.assert_allclose(found, [[0.03, 0.12], [0.0, 1.0]])
    assert Calibration("x").mapped_intervals(intervals, values) is intervals


def test_a_narrow_interval_still_holds_its_value(run: Path) -> None:
    narrow = dataclasses.replace(a_calibration(run), margin=-0.5)
    found = narrow.mapped_intervals(np.array([[0.25, 0.5]]), np.array([0.375]))
    np.testing.assert_allclose(found, [[0.075, 0.075]])  # what .375 means


def test_scores_are_mapped_and_held_against_the_threshold(run: Path) -> None:
    plain = Scorer.from_pretrained(run, device="cpu").score(TEXT)
    assert plain.alarms == {} and len(plain.offsets) > 33  # several windows
    a_calibration(run).save(run)
    scorer = Scorer.from_pretrained(run, device="cpu")
    score = scorer.score(TEXT)
    assert score.synthenticity < plain.synthenticity < 0.99
    assert score.alarms == {"0.01": plain.synthenticity > 0.05}  # as it was before the map
    assert np.array_equal(score.probabilities, plain.probabilities)
    assert score.to_json()["alarms"] == score.alarms


def test_other_weights_refuse_it(run: Path) -> None:
    a_calibration(run).save(run)
    path = run / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CompatibilityError, match="was made of other weights than lie beside it"):
        Scorer.from_pretrained(run)


@pytest.mark.parametrize(
    ("find", "put", "said"),
    [
        ('"0.01"', '"0.02"', "is damaged .its checksum does not fit"),
        ("{", "", "is damaged"),
        (None, json.dumps({"format_version": 7, "weights": ""}), "is of format version 7"),
        (None, json.dumps({"format_version": 1}), "is damaged"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused(
    run: Path, find: str | None, put: str, said: str
) -> None:
    a_calibration(run).save(run)
    path = run / CALIBRATION_FILE
    text = path.read_text(encoding="utf-8")
    path.write_text(put if find is None else text.replace(find, put, 1), encoding="utf-8")
    with pytest.raises(ModelError, match=said):
        load_calibration(run)
