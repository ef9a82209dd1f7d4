"""Tasks: label column → target, logits → loss and prediction, split → metrics. One file for each task."""
