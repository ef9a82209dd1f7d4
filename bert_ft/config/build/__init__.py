"""Build a training stage from a checked configuration and a folder."""

from bert_ft.compat.torchmetrics import import_without_signals

import_without_signals()  # before Lightning, which imports all of torchmetrics
