"""What fills the stream: providers, found by name, and `prepare`, which runs one."""
