import re

import pytest
from optuna import create_study
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import TPESampler

from bert_ft.errors import ConfigError
from bert_ft.search.space.space import ends, grid, space_of, suggest
from bert_ft.search.spelling import as_written


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("key=choice(1,2)", CategoricalDistribution([1, 2])),
        ("key=1,2", CategoricalDistribution([1, 2])),
        ("key=choice(true,false)", CategoricalDistribution([True, False])),
        ("key=choice('hello','world')", CategoricalDistribution(["hello", "world"])),
        ("key=choice([256],[256,128])", CategoricalDistribution(["[256]", "[256,128]"])),
        # quoted where the text would be read as something else
        (
            """key=choice('1',1,'null','a,b','c"d','it')""",
            CategoricalDistribution(["'1'", 1, "'null'", "'a,b'", "'c\"d'", "it"]),
        ),
        ("key=str(choice(1,2))", CategoricalDistribution(["'1'", "'2'"])),
        ("key=null,0.5", CategoricalDistribution(["null", 0.5])),
        ("key=shuffle(range(1,3))", CategoricalDistribution([1, 2])),
        # the end of a range isn't in it, as everywhere in Hydra
        ("key=range(1,3)", IntDistribution(1, 2)),
        ("key=range(0,10,step=3)", IntDistribution(0, 9, step=3)),
        ("key=range(0.5,5.5,step=1)", FloatDistribution(0.5, 4.5, step=1)),
        ("key=interval(1,5)", FloatDistribution(1, 5)),
        ("key=int(interval(1,5))", IntDistribution(1, 5)),
        ("key=tag(log,interval(1,5))", FloatDistribution(1, 5, log=True)),
        ("key=tag(log,int(interval(1,5)))", IntDistribution(1, 5, log=True)),
    ],
)
def test_distributions(override, expected):
    found = space_of({}, [override]).distributions["key"]
    if isinstance(expected, CategoricalDistribution):
        assert sorted(found.choices, key=str) == sorted(expected.choices, key=str)
    else:
        assert found == expected


def test_the_command_line_goes_before_the_configuration():
    params = {"a": "interval(0,1)", "b": "choice(1,2)", "c": "choice(1,2)", "d": 5}
    space = space_of(params, ["a=interval(0,2)", "b=7", "~c", "~elsewhere", "+e=choice(x,y)"])
    assert space.distributions == {"a": FloatDistribution(0, 2), "+e": CategoricalDistribution(["x", "y"])}
    assert space.fixed == {"d": "5", "b": "7"}
    assert space.overrides({"a": 0.5, "+e": "x"}) == ["a=0.5", "+e=x", "d=5", "b=7", "~elsewhere"]


@pytest.mark.parametrize(
    ("argument", "left"),
    [
        ("++a.x=1", {"a.y", "ab"}),
        ("a={x:1,y:2}", {"ab"}),
        ("++a={x:1}", {"a.y", "ab"}),
        ("a={z:{x:1}}", {"a.x", "a.y", "ab"}),
        ("++a.x=interval(0,2)", {"a.y", "ab", "++a.x"}),
        ("~a.x", {"a.y", "ab"}),
    ],
)
def test_what_is_said_of_a_key_in_another_way_goes_before_the_configuration_too(argument, left):
    params = dict.fromkeys(("a.x", "a.y", "ab"), "interval(0,1)")
    assert space_of(params, [argument]).distributions.keys() == left


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("lr=interval(2,1)", "lr=interval(2,1): an empty range"),
        ("lr=range(5,1)", "lr=range(5,1): an empty range"),
        ("lr=tag(log,interval(0,1))", "there is no logarithm of 0.0"),
        ("lr=tag(log,interval(-1,1))", "there is no logarithm of -1.0"),
        ("lr=interval(0,inf)", "both ends must be finite numbers"),
        ("lr=interval(nan,1)", "both ends must be finite numbers"),
        ("lr=tag(log,range(1,9))", "only an interval has a logarithmic scale"),
        ("lr=glob(*)", "lr=glob(*): can't be searched: AssertionError"),
        ("lr=choice()", "lr=choice(): can't be searched"),
        ("lr=interval(1,2", "lr=interval(1,2: can't be searched"),
    ],
)
def test_refused(override, words):
    with pytest.raises(ConfigError) as refusal:
        space_of({}, [override])
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)
    key, value = override.split("=")
    with pytest.raises(ConfigError, match=re.escape(str(refusal.value))):
        space_of({key: value}, [])


@pytest.mark.parametrize(
    ("value", "text"), [(None, "null"), (True, "true"), (1e-05, "1e-05"), ("[1,2]", "[1,2]"), (3, "3")]
)
def test_values_as_overrides_have_them(value, text):
    assert as_written(value) == text


def test_a_grid_has_all_values():
    space = space_of({}, ["a=choice(x,y)", "b=range(0,6,step=2)", "c=range(0,1,step=0.25)"])
    assert grid(space.distributions) == {"a": ["x", "y"], "b": [0, 2, 4], "c": [0.0, 0.25, 0.5, 0.75]}
    with pytest.raises(ConfigError, match=r"^d: a grid .* needs separate values"):
        grid(space_of({}, ["d=interval(0,1)"]).distributions)


def test_a_range_is_the_same_set_for_all_samplers():
    distributions = space_of({}, ["x=range(1,4)"]).distributions
    study = create_study(sampler=TPESampler(n_startup_trials=40, seed=0))
    found = {suggest(study.ask(), "x", distributions["x"]) for _ in range(30)}
    assert found == set(grid(distributions)["x"]) == {1, 2, 3}


def test_ends():
    assert ends(CategoricalDistribution(["a", "b"])) == ["a", "b"]
    assert ends(IntDistribution(1, 9, step=2)) == [1, 9]


def test_the_space_is_known_again():
    one = space_of({"a": "interval(0,1)", "b": "choice(1,2)"}, [])
    assert one.to_json() == space_of({"b": "choice(1,2)"}, ["a=interval(0,1)"]).to_json()
    assert one.to_json() != space_of({"b": "choice(1,2)"}, ["a=interval(0,2)"]).to_json()


def test_a_mapping_of_ranges_is_refused():
    with pytest.raises(
        ConfigError, match=re.escape("hydra.sweeper.params.optimizer.lr: is a key within a mapping")
    ):
        space_of({"optimizer": {"lr": "interval(0,1)"}}, [])
