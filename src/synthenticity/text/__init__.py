"""Documents and tokens: what is read, how it is cut into pools, how it becomes ids."""
