"""What turns a label column into a target, logits into a loss and a prediction, and a split into metrics. One file a task."""
