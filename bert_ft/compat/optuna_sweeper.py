"""What Hydra's plugin for Optuna has no public way for (as of 1.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl, create_params_from_overrides
from optuna.distributions import BaseDistribution


def params_of(overrides: Sequence[str]) -> tuple[dict[str, BaseDistribution], dict[str, Any], list[str]]:
    """Read overrides as the plugin does: what is searched by key, single values by key, and deletions (``~key``).

    The public way that is missing: the plugin reads them inside its own ``sweep``.

    Raises:
        HydraException: an override can't be read.
        ValueError: a range is empty, or has no logarithm.
    """
    return create_params_from_overrides(list(overrides))


def grid_choices(distribution: BaseDistribution) -> list[Any]:
    """Return all values of a distribution.

    The public way that is missing: the plugin's grid makes them for itself.

    Raises:
        ValueError: it has infinitely many.
    """
    return list(OptunaSweeperImpl._to_grid_sampler_choices(distribution))
