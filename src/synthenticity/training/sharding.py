"""A model whose weights, gradients and optimizer states are shared out among processes (FSDP2).

Torch's own `fully_shard` does it, on any device, and not accelerate's plugin, which has checkpoints
of its own kind and leaves processors alone. Checkpoints stay what they are: whole, and of plain
tensors. So a run may go on with another number of processes, and one alone opens its model.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from synthenticity.config import Config
from synthenticity.errors import ConfigError


def check_sharding(config: Config) -> None:
    """Refuse what a sharded model cannot do, and a second way to shard it.

    Raises:
        ConfigError: says what to set.

    """
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("1", "true"):
        raise ConfigError(
            "train: accelerate is told to shard the model (--use_fsdp). Leave that out and set "
            "shard_model = true: then checkpoints stay whole."
        )
    if config.shard_model and config.freeze_transformer:
        raise ConfigError(
            "shard_model: a frozen encoder is read by a whole copy of it, which is what sharding "
            "saves. Set one of shard_model and freeze_transformer to false."
        )


def shard(model: Any) -> None:
    """Share a model out among all processes, a layer at a time; their weights must be equal."""
    for layer in layers(model):
        fully_shard(layer)
    fully_shard(model, reshard_after_forward=True)  # or an evaluation would leave its parts whole


def layers(model: nn.Module) -> list[nn.Module]:
    """Return what a model has many of, one after the other; nothing within another."""
    found: list[nn.Module] = []
    for child in model.children():
        if isinstance(child, nn.ModuleList) and len({type(layer) for layer in child}) == 1:
            found += child
        else:
            found += layers(child)
    return found


def whole(state: Any, *, kept: bool) -> Any:
    """Return a state with every tensor whole, in the memory of the host.

    All processes must call it. Those that do not keep it get None for every tensor that was shared
    out.
    """
    if isinstance(state, DTensor):
        tensor = state.full_tensor()
        return tensor.cpu() if kept else None
    if isinstance(state, dict):
        return {key: whole(value, kept=kept) for key, value in state.items()}
    return state


def whole_weights(model: nn.Module, *, kept: bool) -> dict[str, Any]:
    """Return a model's state, whole; one matrix under two names is one matrix still."""
    state, first = model.state_dict(), dict[int, str]()
    own = {
        name: first.setdefault(id(each), name)
        for name, each in model.named_parameters(remove_duplicate=False)
    }
    made = {
        name: whole(value, kept=kept)
        for name, value in state.items()
        if own.get(name, name) == name
    }
    return {name: made[own.get(name, name)] for name in state}


def shared_out(value: Any, as_is: Any) -> Any:
    """Return this process's part of a whole tensor, shared out as another is."""
    if not isinstance(value, Tensor) or not isinstance(as_is, DTensor) or value.dim() == 0:
        return value
    there = value.to(as_is.device)
    return distribute_tensor(there, as_is.device_mesh, as_is.placements)


@contextmanager
def whole_weights_loaded(model: Any) -> Iterator[None]:
    """Within, a sharded model takes whole weights."""
    targets: Mapping[str, Any] = model.state_dict()

    def parts(state: dict[str, Any]) -> dict[str, Any]:
        return {name: shared_out(value, targets.get(name)) for name, value in state.items()}

    with _given(model, "load_state_dict", parts):
        yield


@contextmanager
def whole_optimizer_loaded(optimizer: Any) -> Iterator[None]:
    """Within, the optimizer of a sharded model takes whole states."""
    parameters = [each for group in optimizer.param_groups for each in group["params"]]

    def parts(state: dict[str, Any]) -> dict[str, Any]:
        shared = {
            number: {name: shared_out(value, parameters[number]) for name, value in of_one.items()}
            for number, of_one in state["state"].items()
        }
        return {**state, "state": shared}

    with _given(optimizer, "load_state_dict", parts):
        yield


@contextmanager
def shown_whole(model: Any, optimizer: Any = None, *, kept: bool) -> Iterator[None]:
    """Within, a sharded model, and its optimizer if given, show whole states.

    All processes must enter. Nothing is gathered within, so that what one of them fails to write
    there leaves no other waiting.
    """
    with _shows(model, whole_weights(model, kept=kept)):
        if optimizer is None:
            yield
            return
        with _shows(optimizer, whole(optimizer.state_dict(), kept=kept)):
            yield


@contextmanager
def _shows(owner: Any, state: dict[str, Any]) -> Iterator[None]:
    owner.state_dict = lambda *_, **__: dict(state)  # the one that saves may drop keys
    try:
        yield
    finally:
        del owner.state_dict


@contextmanager
def _given(owner: Any, name: str, changed: Callable[[Any], Any]) -> Iterator[None]:
    """Within, a method gets its first argument changed."""
    method = getattr(owner, name)
    setattr(owner, name, lambda first, *rest, **named: method(changed(first), *rest, **named))
    try:
        yield
    finally:
        delattr(owner, name)
