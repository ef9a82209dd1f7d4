"""Learning rates and weight decay of each parameter over time. Pure: no Lightning, no Hydra."""
