"""Lightning callbacks: monitors that look and change nothing, and techniques.

Those named here work with any Lightning trainer and without arguments: ``Trainer(callbacks=[bert_ft.callbacks.GradientMonitor()])``.
Monitors work with any module that has a transformers encoder (``bert_ft.callbacks.monitored`` says what they read); the techniques
need ``bert_ft.ClassificationModule``.
"""

from bert_ft.callbacks.activations import ActivationMonitor
from bert_ft.callbacks.attention import AttentionMonitor
from bert_ft.callbacks.averaging import ExponentialAveraging, StochasticAveraging
from bert_ft.callbacks.confidence import ConfidenceMonitor
from bert_ft.callbacks.gradients import GradientMonitor
from bert_ft.callbacks.gradual_unfreezing import GradualUnfreezing
from bert_ft.callbacks.random_state import RandomState
from bert_ft.callbacks.representations import RepresentationMonitor
from bert_ft.callbacks.training_curves import TrainingCurves
from bert_ft.callbacks.weights import WeightMonitor

__all__ = [
    "ActivationMonitor",
    "AttentionMonitor",
    "ConfidenceMonitor",
    "ExponentialAveraging",
    "GradientMonitor",
    "GradualUnfreezing",
    "RandomState",
    "RepresentationMonitor",
    "StochasticAveraging",
    "TrainingCurves",
    "WeightMonitor",
]
