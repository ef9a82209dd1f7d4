"""Configuration files are read when a search starts, since they may be edited while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import BaseDistribution, CategoricalDistribution

from bert_ft.errors import SearchError


def read_choices(
    compose: Callable[[list[str]], DictConfig],
    fixed: Sequence[str],
    space: Mapping[str, BaseDistribution],
    groups: Mapping[str, Any],
) -> None:
    """Compose a job with each choice of each searched group, so that its files are read.

    ``fixed`` are the overrides that all trials share, ``groups`` all groups that exist.

    Raises:
        SearchError: a file is broken or missing.
    """
    for name, distribution in space.items():
        if name not in groups or not isinstance(distribution, CategoricalDistribution):
            continue
        for choice in distribution.choices:
            try:
                compose([*fixed, f"{name}={choice}"])
            except yaml.YAMLError as error:
                raise SearchError(f"{name}={choice}: {' '.join(str(error).split())}") from error
            except MissingConfigException as error:
                if error.missing_cfg_file == f"{name.split('@')[0]}/{choice}":
                    raise SearchError(f"{name}={choice}: there is no such choice") from error
            except (HydraException, OmegaConfBaseException, ValueError):
                pass  # it needs another choice; a trial without that one fails with its own message
