"""Speed, memory and cost, as ratios to named peers measured in the same run.

Each module runs as ``python -m benchmarks.<name>``.
"""
