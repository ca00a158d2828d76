"""`ServedModel`: the scorer that is served, and what a client may know of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from synthenticity.scoring.score import Score

if TYPE_CHECKING:
    from synthenticity.scoring.calibration import Calibration


class TextScorer(Protocol):
    """What scores; `Scorer` does."""

    def score(self, texts: list[str], /) -> list[Score]:
        """Return the score of each text."""
        ...


@dataclass(frozen=True)
class ServedModel:
    """A scorer with its name.

    Attributes:
        name: of the run's folder.
        weights: their fingerprint, which `calibration.json` names, too.
        scorer: what scores.
        about: what else `/v1/model` says.

    """

    name: str
    weights: str
    scorer: TextScorer
    about: Mapping[str, Any] = field(default_factory=dict)


def load_served_model(
    run: Path, *, device: str = "auto", dtype: str = "auto", min_tokens: int | None = None
) -> ServedModel:
    """Load the `--out_dir` of a scorer's run, as `Scorer.from_pretrained` does, and raises."""
    from synthenticity.scoring.calibration import weights_fingerprint
    from synthenticity.scoring.scorer import Scorer

    scorer = Scorer.from_pretrained(run, device=device, dtype=dtype, min_tokens=min_tokens)
    calibration = scorer.calibration
    about = {
        "head": scorer.model.config.head,
        "block_size": int(scorer.model.config.block_size),
        "window_tokens": scorer.window_tokens,
        "min_tokens": scorer.min_tokens,
        "calibrated": calibration is not None,
        "thresholds": {} if calibration is None else dict(calibration.thresholds),
        "human": [] if calibration is None else list(calibration.human),
        "human_documents": 0 if calibration is None else _human_documents(calibration),
    }
    return ServedModel(run.resolve().name, weights_fingerprint(run), scorer, about)


def _human_documents(calibration: "Calibration") -> int:
    """Return of how many documents a calibration keeps the values, or quantiles of them."""
    kept = len(calibration.human)
    return max(kept, int(calibration.about.get("human", {}).get("documents", kept)))
