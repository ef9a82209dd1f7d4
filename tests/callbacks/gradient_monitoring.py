"""A gradient monitor that looks at every step, ways to clip, and a weight whose gradient may be spoilt."""

from bert_ft.callbacks.gradients import GradientMonitor

CLIPPING = {
    "none": {},
    "norm": {"gradient_clip_val": 0.5},
    "value": {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
    "norm, out of reach": {"gradient_clip_val": 1e6},
}
SELDOM = 1000  # so that the module itself has no reason to compute norms
WEIGHT = "layer.1.intermediate.dense.weight"


def monitor(**settings):
    return GradientMonitor(**{"every_n_steps": 1, **settings})
