"""Where and in which arithmetic a model is computed, by the names that settings have for them."""

import platform

import torch

from synthenticity.errors import ConfigError

FLOATING = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""The dtypes in which every row has bits of its own on a CPU: those that layers are packed in."""


def resolve_device(device: str) -> torch.device:
    """Return a device by its name; `auto` stands for CUDA, then MPS, then CPU.

    Raises:
        ConfigError: there is no such device here.

    """
    there = {"cpu": True, "mps": torch.backends.mps.is_available()}
    there["cuda"] = torch.cuda.is_available()
    if device == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if there[kind]))
    kind, _, index = device.partition(":")
    known = there.get(kind, False) and (not index or index.isdigit())
    if not known or (kind == "cuda" and int(index or 0) >= torch.cuda.device_count()):
        names = ", ".join(kind for kind, is_there in there.items() if is_there)
        raise ConfigError(f"device: {device} is not there. This machine has {names}.")
    return torch.device(device)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 matrices by instructions of its own.

    Where it does not, bfloat16 is emulated and slower than float32.
    """
    if device.type == "cpu":
        return multiplies_by_tiles(device) or bool(torch.cpu._is_avx512_bf16_supported())
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def multiplies_by_tiles(device: torch.device) -> bool:
    """Whether a CPU multiplies bfloat16 matrices by AMX, a tile at a time."""
    return device.type == "cpu" and bool(torch.cpu._is_amx_tile_supported())


def widest_float(device: torch.device) -> torch.dtype:
    """Return float64 where a device has it: MPS has not."""
    return torch.float32 if device.type == "mps" else torch.float64


def processor() -> str:
    """Name what a CPU's kernels are chosen by, so far as PyTorch knows it.

    The number of its cores is left out: a container may be given fewer.
    """
    known: dict[str, object] = {}
    if hasattr(torch.cpu, "get_capabilities"):  # not in older versions
        known.update(torch.cpu.get_capabilities())
    facts = [f"{name}={known[name]}" for name in sorted(known) if not name.startswith("num_")]
    instructions = torch.backends.cpu.get_cpu_capability()
    amx = f"amx={multiplies_by_tiles(torch.device('cpu'))}"
    return " ".join([platform.machine(), platform.processor(), instructions, amx, *facts])


def torch_arithmetic(device: torch.device, dtype: torch.dtype, *, packed: bool) -> str:
    """Return what decides the bits of PyTorch: its version, device kind, dtype, and products."""
    precision = torch.get_float32_matmul_precision()
    words = ["torch", torch.__version__.split("+")[0], device.type]
    words += [str(dtype).removeprefix("torch."), "packed" if packed else ""]
    words += [precision if precision != "highest" else ""]
    return " ".join(word for word in words if word)


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Return the dtype that `auto` stands for: bfloat16 where the device has it, else float32.

    Raises:
        ConfigError: nothing is computed in it.

    """
    check_dtype(dtype)
    if dtype == "auto":
        return torch.bfloat16 if multiplies_bfloat16(device) else torch.float32
    return FLOATING[dtype]


def check_dtype(dtype: str) -> None:
    """Refuse a dtype that nothing is computed in, as a model that is given may have: float16.

    Raises:
        ConfigError: it is none of `FLOATING`, nor auto.

    """
    if dtype not in ("auto", *FLOATING):
        raise ConfigError(
            f"dtype: {dtype} is not computed here. Set dtype to one of auto, "
            f"{', '.join(FLOATING)}, and a model in another one is converted."
        )
