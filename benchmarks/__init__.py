"""Speed, memory and cost: ratios against named peers, measured in the same run. Each module is a script, ``python -m benchmarks.<name>``."""
