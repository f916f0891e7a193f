"""Speed, memory and cost: ratios against named peers, measured in the same run. Each module runs as ``python -m benchmarks.<name>``."""
