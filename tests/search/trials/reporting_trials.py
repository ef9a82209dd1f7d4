"""Trials that have reported."""

from optuna.trial import FrozenTrial, create_trial


def reported(values: dict[int, float], total_steps: int | None = None, **settings) -> FrozenTrial:
    attributes = {} if total_steps is None else {"total_steps": total_steps}
    return create_trial(intermediate_values=values, user_attrs=attributes, **settings)
