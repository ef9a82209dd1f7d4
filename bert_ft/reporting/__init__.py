"""Read what a run logged and write its report."""
