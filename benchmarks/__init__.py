"""Measurements behind the numbers in README; run each with ``python -m benchmarks.<name>``."""
