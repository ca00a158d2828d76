"""Ways to fill masks as people do today, each behind the same call: texts in, `Outcome`s out.

Peers are used as their documentation shows, in their newest release, with the options it gives
for speed. One environment holds them all (nlpaug and TextAttack ask for older companions than
they need, hence `--no-deps`):

    python -m venv peers && . peers/bin/activate
    pip install -c constraints.txt -e .
    pip install --no-deps nlpaug textattack flair bert-score language_tool_python OpenHowNet \
        pinyin jieba transformer-smaller-training-vocab bioc
    pip install anytree pandas requests gdown nltk scipy lru-dict datasets terminaltables \
        word2number num2words more-itertools editdistance lemminflect Levenshtein boto3 \
        "conllu<5" deprecated ftfy langdetect lxml matplotlib pytorch-revgrad scikit-learn segtok \
        sqlitedict tabulate psutil toml sentencepiece pptree mpld3 wikipedia-api
"""

import importlib.util
import random
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

import synthenticity
from synthenticity import Document

WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Outcome:
    """A filled text, and what the tool says of it.

    `filled` of `units` (the tool's own: tokens or words) were written; None where the tool does
    not say. `spans` are (start, end, original) of the written places in `text`; `asked` are those
    in the original, where the caller chose them.
    """

    text: str
    units: int
    filled: int | None = None
    spans: list[tuple[int, int, str]] | None = None
    asked: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True)
class Tool:
    """A way to fill masks.

    `fill(texts, ratio, seed, batch_size)` returns an outcome for each text. `pace` is how many of
    the texts it can fill in the time of a benchmark: all, some or few.
    """

    name: str
    unit: str
    pace: str
    labels: str
    log_probability: str
    fill: Callable[[Sequence[str], float, int, int], list[Outcome]]


class Tools:
    """All tools over one model, loaded once for each."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(self.folder)
        self.model = transformers.AutoModelForMaskedLM.from_pretrained(self.folder).eval()
        self.engine = synthenticity.load_filling_model(self.folder)
        self.pipeline = transformers.pipeline(
            "fill-mask", model=self.model, tokenizer=self.tokenizer, device="cpu"
        )

    def all(self) -> tuple[list[Tool], list[str]]:
        """Return the tools that can run here, and why others cannot."""
        found = [
            Tool(OURS, "tokens", "all", "token and span", "yes, and rank", self.synthenticity),
            Tool(PLAIN, "tokens", "all", "ids, your code", "your code", self.plain_torch),
            Tool(AT_ONCE, "words", "all", "your code", "of the best 5", self.pipeline_at_once),
            Tool(ONE_BY_ONE, "words", "some", "your code", "of the best 5", self.pipeline_by_one),
        ]
        missing = []
        for name, package, make in (
            ("nlpaug", "nlpaug", self._nlpaug),
            ("TextAttack", "textattack", self._textattack),
        ):
            if importlib.util.find_spec(package) is None:
                missing.append(f"{name} is not installed; benchmarks/peer_tools.py says how.")
            else:
                found.append(make())
        return found, missing

    def runtimes(self, texts: Sequence[str]) -> tuple[list[Tool], list[str]]:
        """Return ours in other runtimes and dtypes, for the clock, and why some are not there.

        The scales of int8 are chosen by `texts`.
        """
        found, missing = [], []
        for runtime, dtype in RUNTIMES:
            name = f"{OURS}, {runtime} {dtype}"
            try:
                engine = synthenticity.MLMInferenceEngine.from_pretrained(
                    self.folder, device="cpu", runtime=runtime, dtype=dtype
                )
                engine.calibrate(texts)
            except synthenticity.SynthenticityError as error:
                missing.append(f"{name}: {error}")
                continue
            fill = partial(self.synthenticity, engine=engine)
            found.append(Tool(name, "tokens", "all", "token and span", "yes, and rank", fill))
        return found, missing

    def synthenticity(
        self,
        texts: Sequence[str],
        ratio: float,
        seed: int,
        batch_size: int,
        engine: Any = None,
    ) -> list[Outcome]:
        documents = [Document(sha256(text.encode()).hexdigest(), text) for text in texts]
        records = synthenticity.fill(
            documents, model=engine or self.engine, ratio=ratio, seed=seed, batch_size=batch_size
        )
        outcomes = []
        for record in records:
            counted = [label for label in record["token_labels"] if label >= 0]
            filled = sum(label > 0 for label in counted)
            spans = [(span["start"], span["end"], span["original"]) for span in record["spans"]]
            outcomes.append(Outcome(record["text"], len(counted), filled, spans))
        return outcomes

    def plain_torch(
        self, texts: Sequence[str], ratio: float, seed: int, batch_size: int
    ) -> list[Outcome]:
        """The loop that one writes in ten minutes: batches, the whole head, multinomial."""
        torch.manual_seed(seed)
        outcomes = []
        for start in range(0, len(texts), batch_size):
            batch = self.tokenizer(
                list(texts[start : start + batch_size]),
                padding=True,
                truncation=True,
                return_special_tokens_mask=True,
                return_tensors="pt",
            )
            ordinary = ~batch.pop("special_tokens_mask").bool()
            ids = batch["input_ids"]
            mask = (torch.rand(ids.shape) < ratio) & ordinary
            batch["input_ids"] = ids.masked_fill(mask, self.tokenizer.mask_token_id)
            with torch.inference_mode():
                logits = self.model(**batch).logits[mask]
            ids[mask] = torch.multinomial(logits.softmax(dim=1), 1)[:, 0]
            written = self.tokenizer.batch_decode(ids, skip_special_tokens=True)
            counts = zip(ordinary.sum(1).tolist(), mask.sum(1).tolist(), strict=True)
            outcomes += [Outcome(t, *n) for t, n in zip(written, counts, strict=True)]
        return outcomes

    def pipeline_at_once(
        self, texts: Sequence[str], ratio: float, seed: int, batch_size: int
    ) -> list[Outcome]:
        """All masks of all texts in one call, and a careful caller, who splices words in."""
        random.seed(seed)
        words = [[match.span() for match in WORD.finditer(text)] for text in texts]
        chosen = [
            sorted(random.sample(spans, max(1, round(ratio * len(spans))))) for spans in words
        ]
        masked = [_spliced(t, c, ["[MASK]"] * len(c)) for t, c in zip(texts, chosen, strict=True)]
        answers = self.pipeline(
            [text for text, _ in masked],
            batch_size=batch_size,
            tokenizer_kwargs={"truncation": True},
        )
        answers = [answers] if len(texts) == 1 else answers
        outcomes = []
        for text, spans, units, rows in zip(texts, chosen, words, answers, strict=True):
            each = rows if isinstance(rows[0], list) else [rows]
            written = [_drawn(row) for row in each][: len(spans)]
            result, places = _spliced(text, spans[: len(written)], written)
            outcomes.append(Outcome(result, len(units), len(written), places, spans))
        return outcomes

    def pipeline_by_one(
        self, texts: Sequence[str], ratio: float, seed: int, batch_size: int
    ) -> list[Outcome]:
        """One mask after another, split at white space and joined again."""
        random.seed(seed)
        outcomes = []
        for text in texts:
            words, places = text.split(), [match.span() for match in re.finditer(r"\S+", text)]
            chosen = random.sample(range(len(words)), max(1, round(ratio * len(words))))
            for index in chosen:
                words[index] = self.tokenizer.mask_token
                rows = self.pipeline(" ".join(words))
                words[index] = _drawn(rows[0] if isinstance(rows[0], list) else rows)
            asked = [places[index] for index in chosen]
            outcomes.append(Outcome(" ".join(words), len(words), len(chosen), asked=asked))
        return outcomes

    def _nlpaug(self) -> Tool:
        tokenizer_class = transformers.PreTrainedTokenizerFast
        # nlpaug calls two methods that transformers 5 no longer has.
        tokenizer_class._convert_token_to_id = tokenizer_class.convert_tokens_to_ids
        tokenizer_class._convert_id_to_token = tokenizer_class.convert_ids_to_tokens
        from nlpaug.augmenter.word import ContextualWordEmbsAug

        def fill(texts: Sequence[str], ratio: float, seed: int, batch_size: int) -> list[Outcome]:
            seed_everything(seed)
            augmenter = ContextualWordEmbsAug(
                model_path=self.folder,
                model_type="bert",
                action="substitute",
                aug_p=ratio,
                aug_max=None,  # else ten words of a text, whatever its length
                batch_size=batch_size,
            )
            written = augmenter.augment(list(texts))
            return [
                Outcome(text, len(self.tokenizer.tokenize(original)))
                for text, original in zip(written, texts, strict=True)
            ]

        return Tool("nlpaug", "tokens", "some", "none", "none", fill)

    def _textattack(self) -> Tool:
        import_textattack()
        from textattack.augmentation import Augmenter
        from textattack.constraints.pre_transformation import RepeatModification
        from textattack.shared import AttackedText

        def fill(texts: Sequence[str], ratio: float, seed: int, batch_size: int) -> list[Outcome]:
            seed_everything(seed)
            longest = max(len(self.tokenizer(text)["input_ids"]) for text in texts)
            augmenter = Augmenter(
                self.masked_lm_swap(-(-longest // 16) * 16, batch_size),
                constraints=[RepeatModification()],
                pct_words_to_swap=ratio,
            )
            outcomes = []
            for text in texts:
                written = augmenter.augment(text)[0]
                words = zip(AttackedText(text).words, AttackedText(written).words, strict=True)
                changed = [old != new for old, new in words]
                outcomes.append(Outcome(written, len(changed), sum(changed)))
            return outcomes

        return Tool("TextAttack", "words", "few", "none", "none", fill)

    def masked_lm_swap(self, max_length: int, batch_size: int, candidates: int = 50) -> Any:
        """Return TextAttack's transformation; it pads every input to `max_length`."""
        from textattack.transformations import WordSwapMaskedLM

        return WordSwapMaskedLM(
            method="bae",
            masked_language_model=self.model,
            tokenizer=self.tokenizer,
            max_length=max_length,
            max_candidates=candidates,
            batch_size=batch_size,
        )


RUNTIMES = (
    ("torch", "float32"),
    ("torch", "bfloat16"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
    ("openvino", "int8"),
    ("onnx", "float32"),
)
OURS, PLAIN = "synthenticity", "plain torch loop"
AT_ONCE, ONE_BY_ONE = "fill-mask pipeline, all masks at once", "fill-mask pipeline, mask by mask"


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def import_textattack() -> None:
    """Import TextAttack without network and beside transformers 5.

    flair, which it imports, wants a class that transformers 5 renamed; and it reads a list of stop
    words that it would download. No text here uses either.
    """
    import nltk

    sys.modules["transformers"].LayoutLMv2FeatureExtractor = object
    words = Path(tempfile.mkdtemp()) / "corpora" / "stopwords" / "english"
    words.parent.mkdir(parents=True)
    words.write_text("the\n", encoding="utf-8")
    nltk.data.path.append(str(words.parents[2]))
    nltk.download = lambda *_, **__: True
    import textattack  # noqa: F401


def _drawn(row: list[dict[str, Any]]) -> str:
    weights = [candidate["score"] for candidate in row]
    return str(random.choices(row, weights)[0]["token_str"])


def _spliced(
    text: str, places: Sequence[tuple[int, int]], written: Sequence[str]
) -> tuple[str, list[tuple[int, int, str]]]:
    """Return a text with words put in at places, and where they now stand."""
    parts, spans, done, length = [], [], 0, 0
    for (start, end), word in zip(places, written, strict=True):
        parts += [text[done:start], word]
        length += start - done
        spans.append((length, length + len(word), text[start:end]))
        length, done = length + len(word), end
    return "".join([*parts, text[done:]]), spans
