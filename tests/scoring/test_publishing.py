"""What goes to the hub: a scorer, its measured facts, and nothing else of the machine."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub.errors import LocalTokenNotFoundError

from synthenticity import cli
from synthenticity.config import Config
from synthenticity.errors import CompatibilityError, ConfigError
from synthenticity.evaluation.evaluate import Effort, evaluate
from synthenticity.scoring.calibration import Calibration, weights_fingerprint
from synthenticity.scoring.publishing import push_to_hub, read_evaluation, staged
from synthenticity.scoring.scorer import Scorer
from synthenticity.training.model import load_scorer

TEXT = "the king and his fool went to a hall where night fell on stone"


class FakeHub:
    """Answers as `HfApi` does, and keeps what it was sent."""

    def __init__(self, *, private: bool = True, refuses: Exception | None = None) -> None:
        self.private, self.refuses = private, refuses
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.files: dict[str, bytes] = {}

    def create_repo(self, repo: str, **options: Any) -> Any:
        if self.refuses is not None:
            raise self.refuses
        self.asked.append((repo, options))
        return SimpleNamespace(repo_id=f"me/{repo}", __str__=lambda: repo)

    def model_info(self, _repo: str) -> Any:
        return SimpleNamespace(private=self.private)

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> None:
        assert repo_id.startswith("me/") and commit_message
        self.files = {
            str(path.relative_to(folder_path)): path.read_bytes()
            for path in Path(folder_path).rglob("*")
        }


@pytest.fixture(scope="module")
def evaluation_file(
    scorer_path: Path, scorer_config: Config, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What `evaluate --out` writes of the tiny scorer."""
    found = evaluate([scorer_path], [Path(scorer_config.data_dir)], effort=Effort(times=50))
    path = tmp_path_factory.mktemp("evaluation") / "evaluation.json"
    path.write_text(json.dumps(found.to_json()), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(scorer_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with a calibration, a log, a checkpoint and something of the user's."""
    folder = tmp_path_factory.mktemp("home") / "scorer"
    shutil.copytree(scorer_path, folder)
    about = {
        "human": {"corpus": "/home/someone/letters", "documents": 150},
        "filled": {"data": "/home/someone/set", "map": "affine"},
        "at_most": {"0.05": 0.08},
    }
    made = Calibration(
        weights_fingerprint(folder), thresholds={"0.05": 0.25}, human=(0.1, 0.3), about=about
    )
    made.save(folder)
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    (folder / "tensorboard").mkdir(exist_ok=True)
    (folder / "tensorboard" / "events").write_text("log", encoding="utf-8")
    return folder


def test_only_what_a_scorer_needs_is_uploaded_and_it_scores_alike(
    run: Path, evaluation_file: Path, tmp_path: Path
) -> None:
    hub = FakeHub()
    push_to_hub(run, "words", api=hub, evaluation=read_evaluation(evaluation_file), private=True)
    assert hub.asked == [("words", {"private": True, "exist_ok": True})]
    assert set(hub.files) == {
        "README.md",
        "calibration.json",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    for name, content in hub.files.items():
        (tmp_path / name).write_bytes(content)
    ours, theirs = (Scorer.from_pretrained(path, device="cpu") for path in (run, tmp_path))
    assert theirs.score(TEXT).to_json() == ours.score(TEXT).to_json()
    assert theirs.calibration is not None and theirs.score(TEXT).alarms == ours.score(TEXT).alarms


def test_nothing_of_this_machine_is_uploaded(
    run: Path, scorer_path: Path, evaluation_file: Path, scorer_config: Config
) -> None:
    hub = FakeHub()
    push_to_hub(run, "words", api=hub, evaluation=read_evaluation(evaluation_file))
    private = [
        str(scorer_path.parent),
        str(run.parent),
        str(Path(scorer_config.data_dir).parent),
        str(Path(str(scorer_config.mlm_checkpoint_path)).parent),
        scorer_config.corpus,
        "/home/someone",
        str(Path.home()),
    ]
    assert str(Path(str(scorer_config.mlm_checkpoint_path)).parent) in (
        run / "config.json"
    ).read_text(encoding="utf-8")  # so there is something to take out
    for name, content in hub.files.items():
        found = [text for text in private if text.encode() in content]
        assert found == [], name


def test_the_card_holds_the_figures_of_the_evaluation(run: Path, evaluation_file: Path) -> None:
    evaluation = read_evaluation(evaluation_file)
    with staged(run, "me/words", evaluation, "apache-2.0") as folder:
        card = (folder / "README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(card.split("---\n")[1])
    assert head["library_name"] == "synthenticity" and head["license"] == "apache-2.0"
    (row,) = evaluation["rows"]
    figures = row["systems"]["scorer"]["figures"]
    (result,) = head["model-index"][0]["results"]
    values = {each["type"]: each["value"] for each in result["metrics"]}
    assert values["mae"] == figures["mae"]
    assert result["dataset"]["name"] == row["name"]
    low, high = row["systems"]["scorer"]["intervals"]["mae"]
    assert f"| **scorer** | {figures['mae']:.3f} [{low:.3f}, {high:.3f}]" in card
    for name, system in row["systems"].items():
        assert f"{system['figures']['mae']:.3f}" in card and name in card
    held = figures["interval_coverage"]
    assert f"| {row['name']} | partly filled | {held:.3f}" in card
    assert f"| {row['name']} | {figures['human_sequences']} | {row['documents']} |" in card
    fingerprint = json.loads((run / "metrics.json").read_text())["made_with"]["models"]
    assert all(each["fingerprint"] in card for each in fingerprint.values())
    assert "recipe `random 0.1-0.7 t1`" in card
    assert "hf download me/words" in card
    assert "**No sanctions on people.**" in card and "**Not proof.**" in card
    assert "threshold 0.2500" in card and "150 human texts" in card
    for alarm in row["alarms"]:
        assert (alarm["sentence"] in card) == alarm["rings"]


def test_two_data_sets_are_two_results(run: Path, evaluation_file: Path) -> None:
    evaluation = read_evaluation(evaluation_file)
    evaluation["rows"].append({**evaluation["rows"][0], "name": "others"})
    with staged(run, "words", evaluation, None) as folder:
        card = (folder / "README.md").read_text(encoding="utf-8")
    results = yaml.safe_load(card.split("---\n")[1])["model-index"][0]["results"]
    assert [each["dataset"]["name"] for each in results] == ["data", "others"]
    assert "**others**: " in card


def test_without_an_evaluation_the_card_says_that_nothing_was_measured(run: Path) -> None:
    with staged(run, "words", None, None) as folder:
        card = (folder / "README.md").read_text(encoding="utf-8")
    assert "Not measured" in card and "model-index" not in card


def test_an_evaluation_of_something_else_is_refused(
    run: Path, evaluation_file: Path, tmp_path: Path
) -> None:
    unknown = read_evaluation(evaluation_file)
    del unknown["weights"]
    for wrong, why in (({"rows": 1}, "is not what"), (unknown, "which weights .* Evaluate again")):
        hub = FakeHub()
        with pytest.raises(CompatibilityError, match=why):
            push_to_hub(run, "words", api=hub, evaluation=wrong)
        assert hub.asked == []
    for content, why in (("{", "cannot be read as JSON"), ("[]", "is no evaluation")):
        (tmp_path / "e.json").write_text(content, encoding="utf-8")
        with pytest.raises(CompatibilityError, match=why):
            read_evaluation(tmp_path / "e.json")


def test_an_evaluation_of_other_weights_is_refused_whatever_the_folders_name(
    run: Path, evaluation_file: Path, tmp_path: Path
) -> None:
    other = tmp_path / run.name
    shutil.copytree(run, other)
    (other / "calibration.json").unlink()
    model = load_scorer(other)
    with torch.no_grad():
        model.cls_head.bias.add_(0.1)
    model.save_pretrained(other)
    hub = FakeHub()
    assert Path(read_evaluation(evaluation_file)["runs"][0]).name == other.name
    with pytest.raises(CompatibilityError, match=r"judges other weights \(scorer\)"):
        push_to_hub(other, "words", api=hub, evaluation=evaluation_file)
    assert hub.asked == []
    moved = (
        tmp_path / "moved"
    )  # and one of these is taken, whatever it is called, calibrated or not
    shutil.copytree(run, moved)
    push_to_hub(str(moved), "words", api=hub, evaluation=str(evaluation_file))
    assert b"## Intervals" in hub.files["README.md"]


def test_the_card_says_that_rates_are_by_data_set_and_not_by_domain(
    run: Path, evaluation_file: Path
) -> None:
    with staged(run, "words", read_evaluation(evaluation_file), None) as folder:
        card = (folder / "README.md").read_text(encoding="utf-8")
    assert "Rates are by data set: sequences hold no domain" in card


def test_a_token_reaches_the_hubs_own_api(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub, given = FakeHub(), []
    monkeypatch.setattr("huggingface_hub.HfApi", lambda token: given.append(token) or hub)
    push_to_hub(run, "words", token="hf_mine")
    assert given == ["hf_mine"] and "model.safetensors" in hub.files


def test_a_public_repository_is_not_taken_for_a_private_one(run: Path) -> None:
    hub = FakeHub(private=False)
    with pytest.raises(ConfigError, match="is there already, and public"):
        push_to_hub(run, "words", api=hub, private=True)
    assert hub.files == {}
    push_to_hub(run, "words", api=hub)
    assert hub.files


def test_what_the_hub_refuses_is_one_line(run: Path) -> None:
    for error in (LocalTokenNotFoundError, OSError):  # a network has errors of many kinds
        hub = FakeHub(refuses=error("Token is required.\nand more"))
        with pytest.raises(ConfigError, match=r"\(Token is required.\). Log in with hf auth login"):
            push_to_hub(run, "words", api=hub)
    with pytest.raises(ConfigError, match="is no name on the hub"):
        push_to_hub(run, "a/b/c", api=FakeHub())


def test_a_dry_run_shows_all_and_uploads_nothing(
    run: Path,
    evaluation_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("huggingface_hub.HfApi.__init__", refuse)
    given = ["publish", str(run), "--evaluation", str(evaluation_file)]
    assert cli.run([*given, "--repo", "words", "--dry-run"]) == cli.GOOD
    said = capsys.readouterr().out
    assert "model.safetensors" in said and "Nothing was uploaded." in said and "# words" in said
    assert cli.run([*given, "--card", str(tmp_path / "card.md")]) == cli.GOOD
    assert capsys.readouterr().out.strip() == str(tmp_path / "card.md")
    assert "## Intervals" in (tmp_path / "card.md").read_text(encoding="utf-8")
    assert cli.run(given) == cli.USER_ERROR
    assert "--repo: is missing" in capsys.readouterr().err
    assert cli.run([*given, "--repo", "a/b/c", "--dry-run"]) == cli.USER_ERROR
    assert "--repo a/b/c: is no name on the hub" in capsys.readouterr().err
    assert cli.run([*given, "--card", str(tmp_path)]) == cli.USER_ERROR
    assert "is no place for a file" in capsys.readouterr().err


def test_the_command_uploads_with_the_hubs_own_api(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = FakeHub()
    monkeypatch.setattr("huggingface_hub.HfApi", lambda token: hub)
    assert cli.run(["publish", str(run), "--repo", "words", "--private", "--json"]) == cli.GOOD
    assert json.loads(capsys.readouterr().out)["url"] and "model.safetensors" in hub.files
