"""What the hub and its cache say of a model, and what to do where it cannot be reached."""

from pathlib import Path
from typing import Any


def hub_options(revision: str | None, remote_code: bool) -> dict[str, Any]:
    """Return what every `from_pretrained` is told of a model on the hub."""
    options: dict[str, Any] = {"trust_remote_code": remote_code}
    return options if revision is None else {**options, "revision": revision}


def cached_commit(model_id: str, revision: str | None) -> str | None:
    """Return the commit of the files that the hub's cache holds for a revision, or None."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model_id, "config.json", revision=revision)
    return Path(found).parent.name if isinstance(found, str) else None


def hub_problem(model_id: str, error: BaseException | None) -> str:
    """Say why a model that is no folder could not be had, and what to do.

    Where the hub has answered, its answer; else how to get the model here without it.
    """
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    chain = [error, getattr(error, "__cause__", None), getattr(error, "__context__", None)]
    if any(isinstance(link, HFValidationError) for link in chain):
        return "there is no such folder, and a hub id is NAME or OWNER/NAME."
    if any(isinstance(link, HfHubHTTPError) for link in chain):
        answer = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return f"there is no such folder, and the hub says: {answer}."
    return (
        "there is no such folder, the hub cannot be reached (or HF_HUB_OFFLINE is set), and its "
        f"cache here does not hold the model. Where there is network, run hf download {model_id} "
        "--local-dir DIR; then give that folder in place of the id."
    )
