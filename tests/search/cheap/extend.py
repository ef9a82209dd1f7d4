"""A search space by a function, as Hydra's plugin allows it."""

from omegaconf import DictConfig
from optuna.trial import Trial


def configure(config: DictConfig, trial: Trial) -> None:
    """``y`` close to ``x``, and a parameter that the configuration doesn't have."""
    x = trial.params["x"]
    trial.suggest_float("y", x - config.seconds, x + config.seconds)
    trial.suggest_float("+w", 0.0, 1.0)
