"""A scorer on the hub: its weights, configuration, tokenizer and calibration, with its card.

Nothing is sent unless `push_to_hub` is called. What is sent is put together in a folder
first, from named files alone, so checkpoints, logs and settings of the run stay here, and so do the
names of folders: they are taken out of configuration and calibration.
"""

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from synthenticity.errors import CompatibilityError, ConfigError, SynthenticityError
from synthenticity.scoring.calibration import load_calibration, weights_fingerprint
from synthenticity.scoring.model_card import model_card
from synthenticity.training.model import load_scorer

CARD_FILE = "README.md"
WHOLE_FILES = (
    "tokenizer.json",
    "special_tokens_map.json",
    "model.safetensors.index.json",
)
JSON_FILES = ("config.json", "tokenizer_config.json")
WEIGHTS = "model*.safetensors"
PRIVATE_KEYS = ("_name_or_path", "name_or_path", "is_local", "local_files_only")


def read_evaluation(path: Path) -> dict[str, Any]:
    """Read what `synthenticity evaluate --out` wrote.

    Raises:
        CompatibilityError: it is something else.

    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CompatibilityError(
            f"{path}: cannot be read as JSON ({_why(error)}). Give what synthenticity evaluate RUN "
            "DATA --out FILE.json wrote."
        ) from None
    if not isinstance(content, dict):
        raise CompatibilityError(f"{path}: is no evaluation of synthenticity evaluate --out.")
    return content


def check_repo(repo: str) -> None:
    """Refuse what cannot be the name of a repository.

    Raises:
        ConfigError: it cannot.

    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ConfigError(f"--repo {repo}: is no name on the hub ({error}).") from None


@contextmanager
def staged(
    run: Path, repo: str, evaluation: Mapping[str, Any] | None, licence: str | None
) -> Iterator[Path]:
    """Yield a folder with all that is to be published of a scorer; it is gone afterwards.

    Raises:
        ModelError: the run holds no scorer.
        CompatibilityError: evaluation, calibration and scorer do not belong together.

    """
    load_scorer(run)
    calibration = load_calibration(run)
    with tempfile.TemporaryDirectory(prefix="synthenticity-") as place:
        folder = Path(place)
        for path in [*run.glob(WEIGHTS), *(run / name for name in WHOLE_FILES)]:
            if path.is_file():
                shutil.copyfile(path, folder / path.name)
        for name in JSON_FILES:
            if (run / name).is_file():
                content = json.loads((run / name).read_text(encoding="utf-8"))
                text = json.dumps(_without(content, PRIVATE_KEYS), indent=2, sort_keys=True)
                (folder / name).write_text(f"{text}\n", encoding="utf-8")
        if calibration is not None:
            calibration = dataclasses.replace(
                calibration,
                weights=weights_fingerprint(folder),
                about=_without(calibration.about, ("corpus", "data")),
            )
            calibration.save(folder)
        card = model_card(
            run, repo=repo, evaluation=evaluation, calibration=calibration, licence=licence
        )
        (folder / CARD_FILE).write_text(card, encoding="utf-8")
        load_scorer(folder)
        yield folder


def push_to_hub(
    run: str | Path,
    repo_id: str,
    *,
    evaluation: Mapping[str, Any] | str | Path | None = None,
    private: bool = False,
    licence: str | None = None,
    token: str | None = None,
    api: Any = None,
) -> str:
    """Upload a scorer and its card to the hub, and return the address.

    Args:
        run: the scorer's folder.
        repo_id: NAME or OWNER/NAME; is made if it is not there.
        evaluation: of the scorer, for its card: the file that `synthenticity evaluate RUN DATA
            --out FILE.json` wrote, or what it holds.
        private: nobody else is to see it.
        licence: of the weights, as the hub spells it.
        token: of the hub; that of `hf auth login` by default.
        api: what answers as `huggingface_hub.HfApi(token=token)`, which is the default, does.

    Raises:
        ConfigError: the name is none, the hub refuses, or a repository that should be private is
            there already and is not.
        ModelError: the run holds no scorer.
        CompatibilityError: evaluation, calibration and scorer do not belong together.

    Example:
        push_to_hub("runs/scorer", "OWNER/NAME", evaluation="evaluation.json", private=True)

    """
    from huggingface_hub import HfApi

    check_repo(repo_id)
    if isinstance(evaluation, str | Path):
        evaluation = read_evaluation(Path(evaluation))
    api = HfApi(token=token) if api is None else api
    with staged(Path(run), repo_id, evaluation, licence) as folder, _hub_answers(repo_id):
        made = api.create_repo(repo_id, private=private, exist_ok=True)
        name = getattr(made, "repo_id", repo_id)
        if private and not api.model_info(name).private:
            raise ConfigError(
                f"--repo {name}: is there already, and public. Nothing was uploaded. Make it "
                "private on the hub, give another name, or leave out --private."
            )
        api.upload_folder(
            repo_id=name, folder_path=str(folder), commit_message="Upload scorer and its card"
        )
    return str(made)


def _why(error: Exception) -> str:
    return str((isinstance(error, OSError) and error.strerror) or error)


@contextmanager
def _hub_answers(repo: str) -> Iterator[None]:
    """Within, what the hub or the network refuses, in whatever error, is a `ConfigError`."""
    try:
        yield
    except SynthenticityError:
        raise
    except Exception as error:
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"--repo {repo}: the hub cannot be written to ({line}). Log in with hf auth login, and "
            "look at the name and the network."
        ) from error


def _without(content: Any, keys: tuple[str, ...]) -> Any:
    """Return plain values without some keys, at any depth."""
    if isinstance(content, Mapping):
        return {key: _without(value, keys) for key, value in content.items() if key not in keys}
    return [_without(each, keys) for each in content] if isinstance(content, list) else content
