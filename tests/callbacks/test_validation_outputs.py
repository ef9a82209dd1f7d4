"""What two processes validate, against one that validates it all."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from bert_ft.callbacks.confidence import ConfidenceMonitor
from bert_ft.callbacks.representations import RepresentationMonitor
from tests.several_processes import in_two

from .monitored import IGNORED_REMARKS, Given, Log, arrays, events, fitted, records, trainer

pytestmark = [*IGNORED_REMARKS, pytest.mark.slow]
NUM_ROWS = 30
# of the first process and the second: uneven, and with a row that both have
PARTS = [
    [torch.arange(5, 15), torch.arange(15, 18)],
    [torch.tensor([5]), torch.arange(18, 30), torch.arange(5)],
]


class Shared(Given):
    """Each process validates its part."""

    def val_dataloader(self):
        return DataLoader(PARTS[self.trainer.global_rank], batch_size=None)


def values():
    rng = np.random.default_rng(0)
    return {
        "features": torch.from_numpy(rng.normal(size=(NUM_ROWS, 5))).float(),
        "logits": torch.from_numpy(rng.normal(size=(NUM_ROWS, 3))).float(),
        "labels": torch.from_numpy(rng.integers(3, size=NUM_ROWS)),
        "rows": torch.arange(NUM_ROWS),
    }


def monitors(folder):
    return [ConfidenceMonitor(folder / "monitor"), RepresentationMonitor(folder / "monitor", num_texts=20)]


def scalars(folder):
    seen = events(folder / "tensorboard")
    names = [name for name in seen.Tags()["scalars"] if "/" in name]
    return {name: [event.value for event in seen.Scalars(name)] for name in names}


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    fitted(one, Given(values()), None, callbacks=monitors(one), num_sanity_val_steps=0)

    def fit(rank):
        settings = {"strategy": "ddp", "use_distributed_sampler": False, "num_sanity_val_steps": 0}
        trainer(two, None, Log(), callbacks=monitors(two), devices=2, **settings).fit(Shared(values()))

    in_two(fit, two)
    assert {path.name for path in (two / "monitor").iterdir()} == {
        path.name for path in (one / "monitor").iterdir()
    }
    for name, num_rows in {"validation_2.npz": NUM_ROWS, "representations_2.npz": 20}.items():
        expected, found = arrays(one / "monitor" / name), arrays(two / "monitor" / name)
        assert len(set(found["rows"].tolist())) == num_rows
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_array_equal(found[key], value, err_msg=key)
    assert records(two / "monitor/top_losses_2.json") == records(one / "monitor/top_losses_2.json")
    assert len(scalars(one)) == 16
    assert scalars(two) == scalars(one)
