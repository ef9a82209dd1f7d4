"""``docs/python.md``: its code runs as it stands, with a tiny encoder in place of a large one."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs/python.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
# as on the page → in the test: seconds instead of minutes
SHORTER = {
    'encoder="minilm", **{': 'encoder="tiny_encoder", **{"trainer.min_train_steps": 0, "data.max_length": 32, ',
    '"data.train_file=reviews.csv", ': '"data.train_file=reviews.csv", *SMALL, ',
    "[1e-4, 3e-4]": "[3e-3]",
    "lightning.Trainer(": 'lightning.Trainer(accelerator="cpu", enable_progress_bar=False, enable_model_summary=False, ',
}
SMALL = [
    "encoder=any",
    "encoder.name_or_path=tiny_encoder",
    "data.max_length=32",
    "trainer.min_train_steps=0",
    "trainer.max_epochs=1",
    "monitor=none",
    "report=false",
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_code_runs(workplace):
    assert len(BLOCKS) == 6
    names = {"SMALL": SMALL}
    for block in BLOCKS:
        for old, new in SHORTER.items():
            block = block.replace(old, new)
        exec(compile(block, "docs/python.md", "exec"), names)
    assert set(names["labels"]) == set(names["model"].classes_)
    assert names["run"].metrics["val"]
    assert len(names["study"].trials) == 2
    assert sum(len(batch["rows"]) for batch in names["rows"]) == len(names["texts"])


def test_no_replacement_is_out_of_date():
    code = "".join(BLOCKS)
    assert all(old in code for old in SHORTER)
