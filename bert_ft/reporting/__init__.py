"""From what a run logged to its report: read, compute, draw, write."""
