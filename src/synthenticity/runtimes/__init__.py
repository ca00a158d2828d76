"""How models are computed fast, and to the same bits whatever stands beside a row."""
