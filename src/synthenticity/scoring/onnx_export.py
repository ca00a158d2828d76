"""A scorer as one ONNX file: encoder, channels, heads, map and interval, for ONNX Runtime alone.

Everything that `SequenceScorer.forward` says of a window comes out, hashing of n-grams included.
int8 multiplies by ONNX Runtime's blockwise kernel: each 32 numbers of a row have a scale of their
own. So a text's score does not depend on its neighbours, as it does where one scale serves a batch
(`quantize_dynamic`), and no text is needed to choose fixed scales by, with which the error is ten
times as large and more (docs/exports.md). Tables of embeddings have a scale a row.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from synthenticity.errors import MissingExtraError, ModelError
from synthenticity.runtimes.attention import choose_attention_to_convert
from synthenticity.runtimes.conversion import quietly
from synthenticity.runtimes.packing import copy_for_inference
from synthenticity.scoring.convertible_likelihoods import make_likelihoods_convertible
from synthenticity.scoring.export_folder import new_folder
from synthenticity.scoring.framing import framed_tokenizer
from synthenticity.scoring.onnx_trial import LOGIT, TOKEN_LOGITS, find_fault
from synthenticity.scoring.trial_windows import trial_windows
from synthenticity.text.tokenization import load_tokenizer
from synthenticity.training.model import load_scorer
from synthenticity.training.sequence_scorer import SequenceScorer

MODEL_FILE = "model.onnx"
INPUTS = ("input_ids", "attention_mask")
OUTPUTS = ("synthenticity", LOGIT, "low", "high")
BLOCK = 32
LEAST_TABLE = 2**14
"""Smaller tables of embeddings stay as they are."""
PAGE = """\
# {name}

A scorer of synthenticity {version} in ONNX{arithmetic}. In this folder, with \
`onnxruntime`, `tokenizers` and `numpy` alone:

```python
import numpy as np, onnxruntime, tokenizers
tokenizer = tokenizers.Tokenizer.from_file("tokenizer.json")
tokenizer.encode_special_tokens = True  # [MASK] in a text is text
tokenizer.enable_truncation({length}), tokenizer.enable_padding(pad_id={pad_id})
model = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
read = tokenizer.encode_batch(["To be, or not to be.", "A second text."])
ids, mask = np.array([(text.ids, text.attention_mask) for text in read]).swapaxes(0, 1)
said = model.run(["synthenticity", "low", "high"], {{"input_ids": ids, "attention_mask": mask}})
for values in zip(*said):
    print(*values)
```

Inputs, int64 `[batch, length]`, of any batch and of any length up to {length}: `input_ids`, which \
begin with [CLS], and `attention_mask`, 1 where there is text. Outputs, float32: {outputs}.

- `synthenticity` `[batch]`: the share of machine-written tokens, and its `logit`;
- `low`, `high` `[batch]`: in which the truth lies for nine of ten texts like those of the training;
{tokens}
A longer text is to be cut into windows; its synthenticity is the mean of theirs, by what each \
counts. Values are those of the scorer before any calibration{exactness}. A score is evidence, not \
proof.
"""
TOKENS_LINE = """\
- `token_logits` `[batch, length]`: the log-odds that a token is machine-written; what it says of \
[CLS] and padding means nothing.
"""


def export_onnx(run: str | Path, folder: Path, *, int8: bool = False) -> None:
    """Write a scorer as ONNX, with its tokenizer and how to run it.

    Args:
        run: the scorer's folder.
        folder: a new one.
        int8: weights and products in 8 bits, which moves scores in the third decimal.

    Raises:
        MissingExtraError: without ONNX (extra `onnx`).
        ModelError: there is no scorer, or ONNX cannot take it.
        ConfigError: the folder holds something.

    """
    _check_installed()
    scorer, tokenizer = load_scorer(run), load_tokenizer(run)
    with new_folder(folder) as place:
        try:
            with quietly():
                _write(scorer, place / MODEL_FILE)
                if int8:
                    _make_int8(place / MODEL_FILE)
                fault = find_fault(scorer, place / MODEL_FILE, int8=int8)
        except Exception as error:
            line = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise ModelError(
                f"{run}: cannot be put into ONNX ({line}). Use Scorer, or export it as "
                "token-classification."
            ) from error
        if fault is not None:
            raise ModelError(
                f"{run}: ONNX Runtime says other {fault}. "
                + ("Export without --int8." if int8 else "Use Scorer.")
            )
        framed = framed_tokenizer(tokenizer, int(scorer.config.block_size))
        framed.save_pretrained(str(place))
        page = _page(folder.name, scorer, int(tokenizer.pad_token_id), int8=int8)
        (place / "README.md").write_text(page, encoding="utf-8")


def _check_installed() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401  (PyTorch exports with it)
    except ImportError:
        raise MissingExtraError("Export to ONNX (onnx, onnxruntime, onnxscript)", "onnx") from None


class _Window(nn.Module):
    """What a scorer says of windows, as a tuple in the order of the outputs."""

    def __init__(self, scorer: SequenceScorer) -> None:
        super().__init__()
        self.scorer = scorer

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        said = self.scorer(input_ids, attention_mask)
        return tuple(said[name] for name in _outputs(self.scorer))


class _IsinByComparison(TorchFunctionMode):
    """Within, `torch.isin` compares with each: ONNX has no operator that it becomes."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is torch.isin:
            elements, among = args
            return (elements[..., None] == among).any(dim=-1)
        return function(*args, **(kwargs or {}))


def _outputs(scorer: SequenceScorer) -> tuple[str, ...]:
    return OUTPUTS if scorer.token_head is None else (TOKEN_LOGITS, *OUTPUTS)


def _write(scorer: SequenceScorer, path: Path) -> None:
    own = copy_for_inference(scorer, torch.device("cpu"), torch.float32)
    choose_attention_to_convert(own.encoder)
    make_likelihoods_convertible(own)
    with torch.inference_mode(), _IsinByComparison():
        program = torch.onnx.export(
            _Window(own).eval(),
            trial_windows(scorer, 2, 32),
            dynamo=True,
            input_names=list(INPUTS),
            output_names=list(_outputs(scorer)),
            dynamic_shapes=tuple({0: "batch", 1: "length"} for _ in INPUTS),
            verbose=False,
        )
    assert program is not None
    ends = {id(value) for value in program.model.graph.outputs}
    for node in program.model.graph:  # an inner value may not bear the name of an output
        for value in node.outputs:
            if value.name in _outputs(scorer) and id(value) not in ends:
                value.name += "_inside"
    program.save(path)


def _make_int8(path: Path) -> None:
    """Turn the products of a model, and its large tables, into 8 bits, in place."""
    import onnx
    from onnxruntime.quantization import QuantFormat
    from onnxruntime.quantization import matmul_nbits_quantizer as blockwise

    model = onnx.load(path)
    _shrink_tables(model)
    settings = blockwise.DefaultWeightOnlyQuantConfig(
        block_size=BLOCK,
        is_symmetric=True,
        accuracy_level=4,  # products of 8-bit numbers
        bits=8,
        op_types_to_quantize=("MatMul",),
        quant_format=QuantFormat.QOperator,
    )
    quantizer = blockwise.MatMulNBitsQuantizer(model, algo_config=settings)
    quantizer.process()
    quantizer.model.save_model_to_file(str(path), False)


def _shrink_tables(model: Any) -> None:
    """Keep large tables that rows are taken from as int8 rows and a scale for each, in place."""
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    tables = {each.name: each for each in graph.initializer if len(each.dims) == 2}
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for name, stored in tables.items():
        rows_taken = all(node.op_type == "Gather" for node in readers.get(name, ()))
        values = numpy_helper.to_array(stored)
        if not rows_taken or values.dtype != np.float32 or values.size < LEAST_TABLE:
            continue
        scale = np.maximum(np.abs(values).max(axis=1, keepdims=True), 1e-12) / 127
        small = np.round(values / scale).astype(np.int8)
        graph.initializer.remove(stored)
        graph.initializer.append(numpy_helper.from_array(small, f"{name}_int8"))
        graph.initializer.append(numpy_helper.from_array(scale.astype(np.float32), f"{name}_scale"))
        for node in readers[name]:
            result, place = node.output[0], list(graph.node).index(node)
            ids, made = node.input[1], f"{result}_{place}"
            graph.node.remove(node)
            parts = [
                helper.make_node("Gather", [f"{name}_int8", ids], [f"{made}_rows"], axis=0),
                helper.make_node("Cast", [f"{made}_rows"], [f"{made}_wide"], to=TensorProto.FLOAT),
                helper.make_node("Gather", [f"{name}_scale", ids], [f"{made}_scales"], axis=0),
                helper.make_node("Mul", [f"{made}_wide", f"{made}_scales"], [result]),
            ]
            for offset, part in enumerate(parts):
                graph.node.insert(place + offset, part)


def _page(name: str, scorer: SequenceScorer, pad_id: int, *, int8: bool) -> str:
    from synthenticity import __version__

    return PAGE.format(
        name=name,
        version=__version__,
        arithmetic=" (int8)" if int8 else "",
        length=scorer.config.block_size,
        pad_id=pad_id,
        outputs=", ".join(f"`{each}`" for each in _outputs(scorer)),
        tokens=TOKENS_LINE if scorer.token_head is not None else "",
        exactness=", but for 8-bit rounding" if int8 else ", within 1e-5",
    )
