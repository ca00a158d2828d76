"""How the processes of a distributed run share a batch: equal slices, in the order of the ranks."""

from synthenticity.errors import ConfigError


def share_of(batch_size: int, world_size: int) -> int:
    """Return how many sequences of a batch each of some processes takes.

    Raises:
        ConfigError: they cannot share it equally.

    """
    if batch_size % world_size:
        raise ConfigError(
            f"batch_size: {batch_size} sequences cannot be shared equally by {world_size} "
            f"processes. Give a multiple of {world_size}."
        )
    return batch_size // world_size
