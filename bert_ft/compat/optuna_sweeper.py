"""Uses of Hydra's plugin for Optuna (1.4) that have no public API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl, create_params_from_overrides
from optuna.distributions import BaseDistribution


def params_of(overrides: Sequence[str]) -> tuple[dict[str, BaseDistribution], dict[str, Any], list[str]]:
    """Read overrides like the plugin: distributions by key, single values by key, and deletions (``~key``).

    Raises:
        HydraException: an override can't be read.
        ValueError: a range is empty, or has no logarithm.
    """
    # no public API: the plugin reads them inside its own ``sweep``.
    return create_params_from_overrides(list(overrides))


def grid_choices(distribution: BaseDistribution) -> list[Any]:
    """Return all values of a distribution; raise ``ValueError`` if there are infinitely many."""
    # no public API: the plugin computes them only for its own grid.
    return list(OptunaSweeperImpl._to_grid_sampler_choices(distribution))
