"""Ways to fill masked rows: the loops that careful users write, and ours in each runtime.

Each is made in a process of its own (benchmarks/own_process.py), where it draws its rows itself,
before the clock runs; no two calls fill the same rows, so nothing can be remembered.
"""

import importlib.util
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from ceiling import wait_for
from fill_shapes import Batch, Shape, draw_batch
from own_process import memory_megabytes

from synthenticity import MLMInferenceEngine
from synthenticity.runtimes.devices import resolve_device
from synthenticity.runtimes.row_cache import RowCache
from synthenticity.runtimes.runtime import FORWARD_TOKENS
from synthenticity.synthesis.filling_engine import FORWARD_TOKENS_ON_GPU

TOP_K = 50
USUAL_RATIO, HALF = 0.15, 0.5
CALIBRATION_ROWS, CALIBRATION_SEED = 64, 10**6
WARM_UP_SEED = 10**7


@dataclass(frozen=True)
class Way:
    """A way to fill; `runtime` is empty where the code is the user's own."""

    name: str
    dtype: str
    runtime: str = ""
    among_best: bool = False

    def missing(self) -> list[str]:
        """Return what has to be installed first."""
        needs = {"openvino": ["openvino"], "onnx": ["onnx", "onnxscript", "onnxruntime"]}
        packages = needs.get(self.runtime, []) + ["nncf"] * (self.dtype == "int8")
        return [name for name in packages if importlib.util.find_spec(name) is None]


NORMAL = Way("normal loop", "float32")
OURS = [
    Way("synthenticity, torch", "float32", "torch"),
    Way("synthenticity, torch", "bfloat16", "torch"),
    Way("synthenticity, OpenVINO", "float32", "openvino"),
    Way("synthenticity, OpenVINO", "bfloat16", "openvino"),
    Way("synthenticity, OpenVINO", "int8", "openvino"),
    Way("synthenticity, ONNX Runtime", "float32", "onnx"),
]
WAYS = [NORMAL, Way("normal loop, drawing among the 50", "float32", among_best=True), *OURS]


def open_way(way: Way, shape: Shape, folder: Path, device: str, rows: int) -> "Filler":
    """Return what fills, ready and warm."""
    torch.manual_seed(0)
    transformers.logging.disable_progress_bar()
    kind = Engine if way.runtime else Loop
    return kind(way, shape, folder, resolve_device(device), rows)


class Filler:
    """Fills `rows` rows a call; its methods return seconds, or what they say."""

    def __init__(
        self, way: Way, shape: Shape, folder: Path, device: torch.device, rows: int
    ) -> None:
        self.way, self.shape, self.device, self.rows = way, shape, device, rows
        self.open(folder)
        self.note = self.warm_up()

    def open(self, folder: Path) -> None:
        """Load the model."""
        raise NotImplementedError

    def warm_up(self) -> str:
        """Do everything once; return what was chosen."""
        raise NotImplementedError

    def write(self, batch: Batch) -> None:
        """Fill a batch, and have the ids on the CPU."""
        raise NotImplementedError

    def read(self, batch: Batch) -> None:
        """Run the encoder alone over a batch."""
        raise NotImplementedError

    def keep_little(self) -> None:
        """Remember so few rows that what is remembered soon grows no more."""

    def said(self) -> str:
        """Return what was chosen while warming up."""
        return self.note

    def fill(self, ratio: float, seed: int) -> dict[str, float]:
        """Fill rows that are new; return seconds, and how many tokens were filled."""
        batch = self._batch(ratio, seed)
        return {"seconds": self._timed(self.write, batch), "filled": batch.filled}

    def encode(self, seed: int) -> float:
        """Return the seconds of the encoder alone."""
        return self._timed(self.read, self._batch(USUAL_RATIO, seed))

    def peak(self) -> float:
        """Return the largest memory so far, in MB: the process's, or what a GPU held for it."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated() / 1e6
        return memory_megabytes("VmHWM")

    def resident_after(self, batches: int, seed: int) -> float:
        """Fill so many batches of mixed sizes; return the memory then held, in MB."""
        self.keep_little()
        for number in range(seed, seed + batches):
            length = 16 * (1 + number * 5 % (self.shape.length // 16))
            self.write(draw_batch(self.shape, USUAL_RATIO, number, 1 + number % self.rows, length))
        if self.device.type == "cuda":
            return torch.cuda.memory_reserved() / 1e6
        return memory_megabytes("VmRSS")

    def _batch(self, ratio: float, seed: int) -> Batch:
        return draw_batch(self.shape, ratio, seed, self.rows)

    def _timed(self, work: Any, batch: Batch) -> float:
        wait_for(self.device)
        start = time.perf_counter()
        work(batch)
        wait_for(self.device)
        return time.perf_counter() - start


class Loop(Filler):
    """What a careful user writes: float32, batches, the whole head, top-k, softmax, multinomial.

    The batch size is the best of three (five on a GPU). As generation loops do it, ids below the
    k-th get no probability, and one is drawn of the whole vocabulary; `among_best` draws of the k.
    """

    def open(self, folder: Path) -> None:
        from transformers import AutoModelForMaskedLM, AutoTokenizer

        self.model = AutoModelForMaskedLM.from_pretrained(folder).eval().to(self.device)
        self.mask_id = AutoTokenizer.from_pretrained(folder).mask_token_id

    def warm_up(self) -> str:
        sizes = (16, 32, 64) if self.device.type == "cpu" else (16, 32, 64, 128, 256)
        times = {}
        for size in [size for size in sizes if size <= self.rows]:
            self.size = size
            self.write(draw_batch(self.shape, USUAL_RATIO, WARM_UP_SEED, size))
            times[size] = self.fill(USUAL_RATIO, WARM_UP_SEED)["seconds"]
        self.size = min(times, key=lambda size: times[size])
        return f"batches of {self.size}"

    @torch.inference_mode()
    def write(self, batch: Batch) -> None:
        ids = torch.from_numpy(batch.ids).to(self.device)
        masks = torch.from_numpy(batch.mask).to(self.device)
        for part, mask in zip(ids.split(self.size), masks.split(self.size), strict=True):
            logits = self.model(input_ids=part.masked_fill(mask, self.mask_id)).logits[mask]
            best, words = logits.topk(TOP_K, dim=1)
            if self.way.among_best:
                drawn = torch.multinomial(best.softmax(dim=1), 1)
                part[mask] = words.gather(1, drawn)[:, 0]
            else:
                logits[logits < best[:, -1:]] = -torch.inf
                part[mask] = torch.multinomial(logits.softmax(dim=1), 1)[:, 0]
        ids.cpu()

    @torch.inference_mode()
    def read(self, batch: Batch) -> None:
        for part in torch.from_numpy(batch.ids).to(self.device).split(self.size):
            self.model.base_model(input_ids=part)


class Engine(Filler):
    """`MLMInferenceEngine.predict_masked_tokens`, all rows in one call."""

    def open(self, folder: Path) -> None:
        self.engine = MLMInferenceEngine.from_pretrained(
            folder, device=str(self.device), dtype=self.way.dtype, runtime=self.way.runtime
        )
        if not self.engine.calibrated:
            rows = draw_batch(self.shape, USUAL_RATIO, CALIBRATION_SEED, CALIBRATION_ROWS)
            self.engine.calibrate([" ".join(f"w{word}" for word in row) for row in rows.ids])

    def keep_little(self) -> None:
        self.engine.cache = RowCache(mebibytes=1)

    def warm_up(self) -> str:
        for ratio in (USUAL_RATIO, HALF):  # the first call of a shape may choose its kernels
            self.write(self._batch(ratio, WARM_UP_SEED))
            self.read(self._batch(ratio, WARM_UP_SEED))
        return ""

    def write(self, batch: Batch) -> None:
        self.engine.predict_masked_tokens(
            batch.ids, batch.mask, sequence_keys=batch.keys, temperature=1.0, top_k=TOP_K
        )

    def read(self, batch: Batch) -> None:
        on_cpu = self.device.type == "cpu"
        tokens = FORWARD_TOKENS if on_cpu else FORWARD_TOKENS_ON_GPU
        rows, visible = max(1, tokens // self.shape.length), batch.mask | True
        place = ~visible
        place[:, 0] = True
        for start in range(0, self.rows, rows):
            some = slice(start, start + rows)
            self.engine.runtime.hidden_at(batch.ids[some], place[some], visible[some])
