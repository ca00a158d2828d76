"""Read the batches of a directory in a training loop of one's own.

synthenticity prepare configs/tiny.toml --files 2
python examples/read_batches.py data/tiny_scorer
"""

import sys

from synthenticity import DatasetConsumer


def main(directory: str) -> None:
    consumer = DatasetConsumer(directory, batch_size=10, seed=0)
    for _ in range(3):
        batch = consumer.get_batch()  # a dict here; (X, Y) for a schema of one input, one target
        shapes = {name: tuple(tensor.shape) for name, tensor in batch.items()}
        print(f"position {consumer.position}: {shapes}")
    consumer.acknowledge(consumer.position)  # a live queue may now drop what is behind


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) == 2 else __doc__)
