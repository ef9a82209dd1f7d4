"""Measurements behind the numbers in docs/measured.md; run each with ``python -m benchmarks.<name>``."""
