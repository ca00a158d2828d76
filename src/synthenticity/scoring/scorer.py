"""`Scorer`: text in, synthenticity and the probability of every token out.

Windows of all texts share the model's batches. The synthenticity of a long text is the mean of
its windows' values, each weighted by the tokens that it counts; scores keep full precision.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray

from synthenticity.errors import CorpusError
from synthenticity.scoring.windows import Window, cut_windows, own_weights
from synthenticity.synthesis.checkpoints import resolve_device
from synthenticity.text.tokenization import encode_with_offsets, load_tokenizer
from synthenticity.training.model import SequenceScorer, load_scorer


@dataclass(frozen=True)
class Score:
    """What a scorer says of one text.

    Attributes:
        text: as it was given.
        synthenticity: estimated share of machine-written tokens, 0 to 1.
        offsets: start and end character of each token, `[tokens, 2]`.
        probabilities: of each token to be machine-written, `[tokens]`; None without token head.
        unknown_share: share of the tokens that the model's tokenizer does not know.

    """

    text: str
    synthenticity: float
    offsets: NDArray[np.int64]
    probabilities: NDArray[np.float64] | None
    unknown_share: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values, with one record a token."""
        tokens = None
        if self.probabilities is not None:
            tokens = [
                {"text": self.text[start:end], "start": start, "end": end, "probability": value}
                for (start, end), value in zip(
                    self.offsets.tolist(), self.probabilities.tolist(), strict=True
                )
            ]
        return {
            "synthenticity": self.synthenticity,
            "characters": len(self.text),
            "unknown_share": self.unknown_share,
            "tokens": tokens,
        }


class Scorer:
    """A trained sequence scorer with its tokenizer.

    Example:
        scorer = Scorer.from_pretrained("runs/scorer")
        scorer.score("To be, or not to be").synthenticity

    """

    def __init__(self, model: SequenceScorer, tokenizer: Any) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.window_tokens = int(model.config.block_size) - 1

    @classmethod
    def from_pretrained(cls, path: str | Path, *, device: str = "auto") -> "Scorer":
        """Load the `--out_dir` of a `sequence_scorer` run.

        Raises:
            ModelError: there is none; says what to do.

        """
        model = load_scorer(path).to(resolve_device(device))
        return cls(model, load_tokenizer(path))

    @overload
    def score(self, texts: str, *, batch_size: int = 32) -> Score: ...
    @overload
    def score(self, texts: list[str], *, batch_size: int = 32) -> list[Score]: ...
    def score(self, texts: str | list[str], *, batch_size: int = 32) -> Score | list[Score]:
        """Score one text or several; a string gives one `Score`, a list a list.

        Raises:
            CorpusError: a text has no token, or none that the scorer knows.

        """
        if isinstance(texts, str):
            return next(self._score_all([texts], batch_size))
        return list(self._score_all(texts, batch_size))

    def _score_all(self, texts: list[str], batch_size: int) -> Iterator[Score]:
        encoded = [encode_with_offsets(self.tokenizer, text) for text in texts]
        for index, (ids, _) in enumerate(encoded):
            if not len(ids):
                raise CorpusError(f"score: text {index} is empty. Give a text with characters.")
            if np.isin(ids, self.model.config.special_token_ids).all():
                raise CorpusError(
                    f"score: text {index} holds no token that the scorer knows. Score text in "
                    "the alphabet that it was trained on."
                )
        plan = [cut_windows(len(ids), self.window_tokens) for ids, _ in encoded]
        jobs = [
            (ids[window.start : window.end], (text, place))
            for text, ((ids, _), windows) in enumerate(zip(encoded, plan, strict=True))
            for place, window in enumerate(windows)
        ]
        results = self._run_windows([ids for ids, _ in jobs], batch_size)
        by_place = {place: result for (_, place), result in zip(jobs, results, strict=True)}
        for index, (text, (ids, offsets), windows) in enumerate(
            zip(texts, encoded, plan, strict=True)
        ):
            parts = [by_place[index, place] for place in range(len(windows))]
            unknown = float(np.mean(ids == self.tokenizer.unk_token_id))
            yield self._assemble(text, offsets, windows, parts, unknown)

    def _assemble(
        self,
        text: str,
        offsets: NDArray[np.int64],
        windows: list[Window],
        parts: list[tuple[float, NDArray[np.float64] | None]],
        unknown_share: float,
    ) -> Score:
        """Join the windows of a text, each token taken from the window that counts it."""
        value = float(np.dot([ratio for ratio, _ in parts], own_weights(windows)))
        owned = [
            tokens[window.own_start - window.start : window.own_end - window.start]
            for window, (_, tokens) in zip(windows, parts, strict=True)
            if tokens is not None
        ]
        return Score(text, value, offsets, np.concatenate(owned) if owned else None, unknown_share)

    @torch.inference_mode()
    def _run_windows(
        self, windows: list[NDArray[np.int64]], batch_size: int
    ) -> list[tuple[float, NDArray[np.float64] | None]]:
        """Return synthenticity and token probabilities of each window; longest first in batches."""
        results: list[Any] = [None] * len(windows)
        order = sorted(range(len(windows)), key=lambda index: -len(windows[index]))
        for start in range(0, len(order), batch_size):
            members = order[start : start + batch_size]
            width = 1 + len(windows[members[0]])
            ids = np.full((len(members), width), self.tokenizer.pad_token_id, dtype=np.int64)
            ids[:, 0] = self.tokenizer.cls_token_id
            visible = np.zeros((len(members), width), dtype=np.int64)
            for row, index in enumerate(members):
                size = len(windows[index])
                ids[row, 1 : 1 + size] = windows[index]
                visible[row, : 1 + size] = 1
            output = self.model(
                torch.as_tensor(ids, device=self.model.device),
                None if visible.all() else torch.as_tensor(visible, device=self.model.device),
            )
            ratios = output.synthenticity.double().cpu().numpy()
            tokens = output.token_logits
            probabilities = None if tokens is None else tokens.double().sigmoid().cpu().numpy()
            for row, index in enumerate(members):
                size = len(windows[index])
                own = None if probabilities is None else probabilities[row, 1 : 1 + size]
                results[index] = (float(ratios[row]), own)
        return results
