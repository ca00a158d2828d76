"""Batch files, the queue directory that holds them, and the consumer that reads them."""
