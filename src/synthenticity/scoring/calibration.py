"""`Calibration`: what a scorer's values mean for one user's text, kept beside its weights.

A scorer knows the text that it was trained on. A map turns its values into ratios of the user's own
text, a margin makes their intervals hold, and thresholds say which value so few human documents
exceed. It lies in `calibration.json` and names the weights that it was made of: other weights
refuse it.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from synthenticity.durable import write_whole
from synthenticity.errors import CompatibilityError, ModelError
from synthenticity.stream.sealed import seal, unseal

CALIBRATION_FILE = "calibration.json"
CALIBRATION_FORMAT = 1
TUPLES = ("values", "ratios", "human")
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """What a scorer's values mean for some kind of text.

    Attributes:
        weights: fingerprint of the scorer's weights (`weights_fingerprint`).
        values: of the scorer, growing: the knots of the map; none, if it changes nothing.
        ratios: what they mean; between the knots the map is a line, beyond them level.
        margin: by which mapped intervals are widened; None where the scorer's own holds.
        thresholds: by rate of false alarms, as text (`"0.01"`): the value of a document, before
            the map, that at most so many human documents exceed.
        human: values of human documents, before the map, growing: their quantiles, or all of them.
        about: what it was made of, for people.

    """

    weights: str
    values: tuple[float, ...] = ()
    ratios: tuple[float, ...] = ()
    margin: float | None = None
    thresholds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    human: tuple[float, ...] = ()
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def mapped(self, synthenticity: Floats) -> Floats:
        """Return what values of the scorer mean, in any shape."""
        if not self.values:
            return synthenticity
        return np.asarray(np.interp(synthenticity, self.values, self.ratios))

    def mapped_intervals(self, intervals: Floats, synthenticity: Floats) -> Floats:
        """Return what intervals `[windows, 2]` around values `[windows]` of the scorer mean.

        They hold their value, however negative the margin is.
        """
        if self.margin is None:
            return intervals
        (low, high), value = self.mapped(intervals).T, self.mapped(synthenticity)
        ends = np.minimum(low - self.margin, value), np.maximum(high + self.margin, value)
        return np.stack(ends, axis=1).clip(0, 1)

    def alarms(self, synthenticity: float) -> dict[str, bool]:
        """Return whether a document's value, before the map, lies above the threshold, by rate of
        false alarms.
        """
        return {rate: synthenticity > threshold for rate, threshold in self.thresholds.items()}

    def save(self, folder: Path) -> None:
        """Write it beside the scorer."""
        content = {**dataclasses.asdict(self), "format_version": CALIBRATION_FORMAT}
        write_whole(folder / CALIBRATION_FILE, seal(content) + "\n")


def load_calibration(folder: Path) -> Calibration | None:
    """Return the calibration beside a scorer; None if there is none.

    Raises:
        CompatibilityError: it was made of other weights.
        ModelError: the file is damaged, or of another version.

    """
    path = folder / CALIBRATION_FILE
    if not path.exists():
        return None
    try:
        content = unseal(path.read_text(encoding="utf-8"))
        version = content.pop("format_version")
        made = None
        if version == CALIBRATION_FORMAT:
            values, ratios, human = (tuple(content.pop(name)) for name in TUPLES)
            made = Calibration(values=values, ratios=ratios, human=human, **content)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(
            f"{path}: is damaged ({error}). Remove it, or run synthenticity calibrate again."
        ) from None
    if made is None:
        raise ModelError(
            f"{path}: is of format version {version}, this version of synthenticity reads "
            f"{CALIBRATION_FORMAT}. Run synthenticity calibrate again."
        )
    if made.weights != weights_fingerprint(folder):
        raise CompatibilityError(
            f"{path}: was made of other weights than lie beside it. Run synthenticity calibrate "
            "again, or remove it."
        )
    return made


def weights_fingerprint(folder: Path) -> str:
    """Return a fingerprint of the weights and settings of a checkpoint's folder.

    Raises:
        ModelError: it holds no weights.

    """
    found = sorted([*folder.glob("*.safetensors"), folder / "config.json"])
    if len(found) < 2:
        raise ModelError(f"{folder}: holds no weights (*.safetensors).")
    hasher = xxhash.xxh3_128()
    for path in found:
        hasher.update(path.name.encode())
        with path.open("rb") as file:
            while block := file.read(2**20):
                hasher.update(block)
    return hasher.hexdigest()
