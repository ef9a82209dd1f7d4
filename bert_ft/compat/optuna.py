"""Uses of Optuna (5.0) that have no public API."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, PatientPruner
from optuna.storages import BaseStorage, RDBStorage, _CachedStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

CachedStorage = _CachedStorage  # its type has no public name

# system attributes that samplers and queued trials set
_FIXED_VALUES = "fixed_params"
_POINT_OF_A_GRID = ("grid_id", "search_space")


def cached(storage: RDBStorage, repeat: Callable[[Callable[[], Any]], Any] | None = None) -> CachedStorage:
    """Wrap a database as Optuna itself does, in a cache of finished trials; ``repeat`` wraps each of its calls."""
    # no public API: a study exposes neither its cache nor the database behind it.
    return _CachedStorage(storage) if repeat is None else _RepeatingStorage(storage, repeat)


class _RepeatingStorage(_CachedStorage):
    def __init__(self, storage: RDBStorage, repeat: Callable[[Callable[[], Any]], Any]) -> None:
        super().__init__(storage)
        self._repeat = repeat


def _repeating(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: _RepeatingStorage, *args: Any, **settings: Any) -> Any:
        return self._repeat(functools.partial(method, self, *args, **settings))

    return call


for _name, _method in vars(BaseStorage).items():
    if inspect.isfunction(_method) and _name.startswith(("create_", "get_", "set_")):
        setattr(_RepeatingStorage, _name, _repeating(getattr(_CachedStorage, _name)))


def database_of(storage: CachedStorage) -> RDBStorage:
    """Return the database behind a cache."""
    # no public API: the cache has no accessor for it.
    backend = storage._backend
    assert isinstance(backend, RDBStorage)
    return backend


def engine_of(storage: CachedStorage | RDBStorage) -> Any:
    """Return SQLAlchemy's engine of a database."""
    # no public API: locks, the server's clock and SQLite's settings need connections of this engine, which isn't documented.
    return (database_of(storage) if isinstance(storage, _CachedStorage) else storage).engine


def url_of(study: Study) -> str | None:
    """Return the address of a study's database, without its password; ``None`` if the study is in memory."""
    # no public API: a study doesn't say where it is stored.
    storage = study._storage
    backend = storage._backend if isinstance(storage, _CachedStorage) else storage
    return (
        backend.engine.url.render_as_string(hide_password=True) if isinstance(backend, RDBStorage) else None
    )


def trial_id(trial: Trial | FrozenTrial) -> int:
    """Return the id of a trial in its storage."""
    # no public API: ``trial.number`` counts within a study, and every method of a storage takes this id.
    return trial._trial_id


def running_trial(study: Study, storage_id: int) -> Trial:
    """Return a trial that another process began, to report to it from this one."""
    # no public API: ``Study.ask`` only begins new trials, and the constructor of ``Trial`` isn't documented.
    return Trial(study, storage_id)


def tell(study: Study, number: int, state: TrialState, values: Sequence[float] | None = None) -> None:
    """End a trial by its number, unless it has ended."""
    # no public API: outside of Optuna's loop, ``Study.tell`` for the last trial of a grid ends the trial and then raises an
    # error without its own type, since the sampler stops the loop
    try:
        study.tell(number, None if values is None else list(values), state, skip_if_finished=True)
    except RuntimeError as error:
        if "Study.stop" not in str(error):
            raise


def attributes_to_repeat(trial: FrozenTrial) -> dict[str, Any]:
    """Return the system attributes that give a waiting trial the same values, and the same point of a grid."""
    # no public API: ``Study.enqueue_trial`` takes values, but no point of a grid, and the values that a trial was queued
    # with are lost if it ended before it had drawn them
    found = {name: trial.system_attrs[name] for name in _POINT_OF_A_GRID if name in trial.system_attrs}
    if values := {**trial.system_attrs.get(_FIXED_VALUES, {}), **trial.params}:
        found[_FIXED_VALUES] = values
    return found


def is_in_range(distribution: FloatDistribution | IntDistribution, value: float) -> bool:
    """Return whether a number is in a range, and on one of its steps."""
    # no public API: distributions have no public test for a value.
    return distribution._contains(value)


def innermost_pruner(pruner: BasePruner) -> BasePruner | None:
    """Return the pruner inside of ``PatientPruner``s, ``None`` if they have none; another pruner itself."""
    # no public API: ``PatientPruner`` doesn't expose its arguments.
    inner: BasePruner | None = pruner
    while isinstance(inner, PatientPruner):
        inner = inner._wrapped_pruner
    return inner
