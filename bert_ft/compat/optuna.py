"""What Optuna has no public way for (as of 5.0)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optuna.distributions import FloatDistribution, IntDistribution
from optuna.pruners import BasePruner, PatientPruner
from optuna.storages import RDBStorage, _CachedStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

CachedStorage = _CachedStorage  # its type has no public name

# what samplers and queued trials note of themselves
_FIXED_VALUES = "fixed_params"
_POINT_OF_A_GRID = ("grid_id", "search_space")


def cached(storage: RDBStorage) -> CachedStorage:
    """Wrap a database as Optuna itself does, in a cache of the trials that have ended.

    The public way that is missing: a study hands out neither the cache that it makes nor the database behind it, so it is
    made here, and kept.
    """
    return _CachedStorage(storage)


def database_of(storage: CachedStorage) -> RDBStorage:
    """Return the database behind a cache.

    The public way that is missing: the cache has no accessor for it.
    """
    backend = storage._backend
    assert isinstance(backend, RDBStorage)
    return backend


def engine_of(storage: CachedStorage | RDBStorage) -> Any:
    """Return SQLAlchemy's engine of a database.

    The public way that is missing: locks, the server's clock and settings of SQLite need connections of Optuna's own
    engine, whose attribute isn't documented.
    """
    return (database_of(storage) if isinstance(storage, _CachedStorage) else storage).engine


def url_of(study: Study) -> str | None:
    """Return the address of a study's database, without the password that may be in it; ``None`` of one in memory.

    The public way that is missing: a study doesn't say where it is kept.
    """
    storage = study._storage
    backend = storage._backend if isinstance(storage, _CachedStorage) else storage
    return (
        backend.engine.url.render_as_string(hide_password=True) if isinstance(backend, RDBStorage) else None
    )


def trial_id(trial: Trial | FrozenTrial) -> int:
    """Return the number by which the storage knows a trial.

    The public way that is missing: ``trial.number`` counts within a study, and every method of a storage asks for this one.
    """
    return trial._trial_id


def running_trial(study: Study, storage_id: int) -> Trial:
    """Return a trial that was begun elsewhere, in another process, to report to it from here.

    The public way that is missing: ``Study.ask`` only begins new ones, and ``Trial`` isn't documented to be constructed.
    """
    return Trial(study, storage_id)


def tell(study: Study, number: int, state: TrialState, values: Sequence[float] | None = None) -> None:
    """End the trial of that number; one that has ended stays as it is.

    The public way that is missing: a sampler of a grid that is used up stops Optuna's own loop, which ``Study.tell``
    outside of it refuses after the trial has ended, by an error without a type of its own.
    """
    try:
        study.tell(number, None if values is None else list(values), state, skip_if_finished=True)
    except RuntimeError as error:
        if "Study.stop" not in str(error):
            raise


def attributes_to_repeat(trial: FrozenTrial) -> dict[str, Any]:
    """Return the system attributes with which a waiting trial draws the same values, at the same point of a grid.

    The public way that is missing: ``Study.enqueue_trial`` takes values, but no point of a grid, and tells nobody which
    values a trial was queued with that ended before it had drawn them.
    """
    found = {name: trial.system_attrs[name] for name in _POINT_OF_A_GRID if name in trial.system_attrs}
    if values := {**trial.system_attrs.get(_FIXED_VALUES, {}), **trial.params}:
        found[_FIXED_VALUES] = values
    return found


def is_in_range(distribution: FloatDistribution | IntDistribution, value: float) -> bool:
    """Return whether a range has a number, by its step also.

    The public way that is missing: distributions have no public test for a value.
    """
    return distribution._contains(value)


def innermost_pruner(pruner: BasePruner) -> BasePruner | None:
    """Return the pruner that a ``PatientPruner`` waits with; any other pruner itself; ``None`` where it waits alone.

    The public way that is missing: a ``PatientPruner`` doesn't tell what it was given.
    """
    inner: BasePruner | None = pruner
    while isinstance(inner, PatientPruner):
        inner = inner._wrapped_pruner
    return inner
