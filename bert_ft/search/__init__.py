"""Hyper-parameter search: Hydra's Optuna sweeper with free-running workers, pruning and resumption."""
