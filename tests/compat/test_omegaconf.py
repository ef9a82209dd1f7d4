"""What is private in OmegaConf and used: each test fails where OmegaConf has changed it."""

from omegaconf import OmegaConf

from bert_ft.compat import omegaconf as compat


def test_a_detached_node():
    config = OmegaConf.create(
        {"size": 3, "a": {"b": {"width": "${size}", "depth": "${..c}"}, "c": [1, 2], "d": {}}}
    )
    found = compat.detached(config.a.b)
    assert found == {"width": 3, "depth": [1, 2]}
    changed = "OmegaConf changed the place of a node"
    assert found._get_full_key("width") == "a.b.width", changed
    root = found._get_root()
    assert root == {"a": {"b": {"width": 3, "depth": [1, 2]}}}, changed
    found.width = 4
    assert config.a.b.width == 3


def test_a_whole_configuration_and_one_without_a_parent():
    assert compat.detached(OmegaConf.create({"a": 1, "b": "${a}"})) == {"a": 1, "b": 1}


def test_objects_stay():
    thing = object()
    assert compat.detached(OmegaConf.create({"a": thing}, flags={"allow_objects": True})).a is thing
