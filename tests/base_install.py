"""What the base installation does alone, run where no extra is installed (see `.ci/run`).

    python tests/base_install.py

Every module can be imported, but those of an extra; the whole loop runs on text of one's own;
whatever needs an extra says in one line how it is installed.
"""

import importlib
import json
import pkgutil
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import synthenticity
from synthenticity.errors import MissingExtraError

ROOT = Path(__file__).parent.parent
EXTRAS_OF_MODULES = {"synthenticity.serve": "serve", "synthenticity.scoring.classifier": "eval"}
SMALL = ("--max_iters", "4", "--eval_interval", "4", "--warmup_iters", "1")


def main() -> None:
    for name in synthenticity.__all__:
        getattr(synthenticity, name)
    for module in pkgutil.walk_packages(synthenticity.__path__, "synthenticity."):
        if not module.name.endswith("__main__"):
            check_import(module.name)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_corpus(place / "texts")
        run_the_loop(place)
        ask_for_extras(place)


def check_import(name: str) -> None:
    """Import a module, or see that it fails for the extra that it belongs to."""
    extra = next((e for begin, e in EXTRAS_OF_MODULES.items() if name.startswith(begin)), None)
    try:
        importlib.import_module(name)
    except (ModuleNotFoundError, MissingExtraError) as error:
        ours = str(error.name).startswith("synthenticity")
        assert extra is not None and not ours, f"{name} needs what is not there: {error}"


def write_corpus(folder: Path) -> None:
    folder.mkdir()
    rng = random.Random(0)
    words = ["the", "king", "and", "his", "fool", "went", "to", "a", "hall", "where", "night"]
    for number in range(10):
        text = " ".join(rng.choice(words) for _ in range(400))
        (folder / f"play-{number}.txt").write_text(text, encoding="utf-8")


def run_the_loop(place: Path) -> None:
    """Make data, train an MLM and a scorer, and score, as the README says."""
    config = [str(ROOT / "configs" / "tiny.toml"), "--corpus", str(place / "texts")]
    mlm = ["--data_dir", str(place / "mlm_data")]
    scorer = ["--data_dir", str(place / "data"), "--mlm_checkpoint_path", str(place / "mlm")]
    good("prepare", *config, *mlm, "--dataset", "char_diffusion", "--files", "1")
    model = ("--model_mode", "language_model", "--out_dir", str(place / "mlm"))
    good("train", *config, *mlm, *SMALL, *model)
    good("prepare", *config, *scorer, "--files", "1")
    run = str(place / "scorer")
    good(
        *("train", *config, *scorer, *SMALL, "--out_dir", run),
        *("--init_from_checkpoint", str(place / "mlm")),
    )
    good("inspect", str(place / "data"))
    good(
        "fill",
        str(place / "texts"),
        "--model",
        str(place / "mlm"),
        "--ratio",
        "0.3",
        "--explore",
        "1",
    )
    said = good("score", run, str(place / "texts" / "play-0.txt"), "--json")
    assert 0 <= json.loads(said)["synthenticity"] <= 1
    good("score", run, str(place / "texts"), "--out", str(place / "scores.parquet"))


def ask_for_extras(place: Path) -> None:
    """Ask for what each extra brings."""
    texts, run, data = (str(place / name) for name in ("texts", "scorer", "data"))
    tiny = str(ROOT / "configs" / "tiny.toml")
    mlm = ("--mlm_checkpoint_path", str(place / "mlm"))
    asked = {
        "demo": ("demo", "--out", str(place / "demo")),
        "eval": ("calibrate", run, "--human", texts, "--fpr", "0.2"),
        "hub": ("score", run, "hf:nobody/nothing:train", "--out", str(place / "a.csv")),
        "onnx": ("export", run, "--to", "onnx", "--out", str(place / "onnx")),
        "openvino": ("fill", texts, "--model", mlm[1], "--explore", "1", "--runtime", "openvino"),
        "ray": ("score", run, texts, "--out", str(place / "b.csv"), "--ray"),
        "s3": ("prepare", tiny, "--corpus", texts, *mlm, "--files", "1", "--out-dir", "s3://b/set"),
        "gs": ("status", "gs://b/set"),
        "abfs": ("status", "abfs://b/set"),
        "serve": ("serve", run, "--port", "0"),
    }
    for extra, command in asked.items():
        lacking(extra, *command)
    lacking("eval", "evaluate", run, data, "--report", str(place / "report.html"))
    lacking("ray", "prepare", tiny, "--corpus", texts, *mlm, "--files", "1", "--ray")
    lacking("ray", "fill", texts, "--model", mlm[1], "--out", str(place / "c.parquet"), "--ray")


def called(*command: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "synthenticity", *command]
    with tempfile.TemporaryDirectory() as nowhere:  # no module lies there by accident
        return subprocess.run(words, capture_output=True, text=True, check=False, cwd=nowhere)


def good(*command: str) -> str:
    done = called(*command)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def lacking(extra: str, *command: str) -> None:
    """See that a command ends with a line that names the extra, and nothing else."""
    done = called(*command)
    said = [line for line in done.stderr.splitlines() if line.startswith("synthenticity: ")]
    line = f'pip install "synthenticity[{extra}]"'
    assert done.returncode == 2 and len(said) == 1 and line in said[0], (command, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr


if __name__ == "__main__":
    main()
