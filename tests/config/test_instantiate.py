"""What is told of the classes in a configuration."""

from bert_ft.config.instantiate import own_code


def test_own_code_changes_with_its_file(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "somebodys_schedules.py"
    file.write_text("class Steep:\n    pass\n")
    target = "somebodys_schedules.Steep"
    settings = {
        "schedule": {"_target_": target},
        "optimizer": [{"algorithm": {"_target_": "torch.optim.AdamW"}}],
    }
    before = own_code(settings)
    assert own_code(settings) == before
    assert before.keys() == {target}
    file.write_text("class Steep:\n    rate = 2\n")
    assert own_code(settings)[target] != before[target]
