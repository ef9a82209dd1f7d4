"""What is private in Hydra's plugin for Optuna and used: each test fails where the plugin has changed it."""

import pytest
from hydra.errors import HydraException
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from bert_ft.compat import optuna_sweeper as compat


def test_overrides_are_read():
    found = compat.params_of(["a=tag(log,interval(0.1,1))", "b=choice(x,y)", "c=range(1,4)", "d=5", "~e"])
    distributions, fixed, deletions = found
    assert distributions == {
        "a": FloatDistribution(0.1, 1.0, log=True),
        "b": CategoricalDistribution(("x", "y")),
        "c": IntDistribution(1, 3),
    }, "Hydra's plugin changed what overrides it searches"
    assert fixed == {"d": "5"}, "Hydra's plugin changed single values"
    assert deletions == ["~e"], "Hydra's plugin changed deletions"


def test_what_cannot_be_read_is_an_error():
    with pytest.raises((HydraException, ValueError)):
        compat.params_of(["a=interval(1,"])


def test_the_values_of_a_grid():
    changed = "Hydra's plugin changed the values of a grid"
    assert compat.grid_choices(CategoricalDistribution(("x", "y"))) == ["x", "y"], changed
    assert compat.grid_choices(IntDistribution(1, 5, step=2)) == [1, 3, 5], changed
    with pytest.raises(ValueError):  # noqa: PT011  # the text is the plugin's
        compat.grid_choices(FloatDistribution(0.0, 1.0))
