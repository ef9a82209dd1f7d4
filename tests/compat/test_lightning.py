"""What is private in Lightning and used: each test fails where Lightning has changed it."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader

from bert_ft.compat import lightning as compat

BATCHES = 3


class Line(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_index):
        return self.layer(batch).mean()

    def validation_step(self, batch, batch_index):
        self.log("loss", float(batch_index))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


HOOKS = {
    "on_sanity_check_start": "sanity check",
    "on_train_epoch_start": "epoch start",
    "on_train_batch_start": "batch start",
    "on_train_batch_end": "batch end",
    "on_validation_start": "validation",
    "on_test_start": "test",
    "on_train_end": "end",
}


class Looking(Callback):
    """Collects what a function of the trainer returns, hook by hook."""

    def __init__(self, look):
        self.seen = {}
        for hook, name in HOOKS.items():
            setattr(
                self,
                hook,
                lambda trainer, *_, name=name: self.seen.setdefault(name, []).append(look(trainer)),
            )


def loader():
    return DataLoader(torch.ones(BATCHES, 1))


def trainer_in(folder, *callbacks, **settings):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    settings = {"accelerator": "cpu", "max_epochs": 2, "enable_checkpointing": False} | quiet | settings
    return Trainer(default_root_dir=folder, callbacks=list(callbacks), **settings)


def seen(folder, look, **settings):
    looking = Looking(look)
    trainer_in(folder, looking, **settings).fit(Line(), loader(), loader())
    return looking.seen


pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec"),  # Lightning 2.6 under torch 2.13
]


def test_a_fit_includes_its_validations_only(tmp_path):
    answers = seen(tmp_path, compat.is_fitting)
    assert answers.keys() >= {"sanity check", "batch start", "validation", "end"}
    assert all(all(each) for each in answers.values()), "Lightning changed Trainer.state"
    # a separate validation isn't a fit
    looking = Looking(compat.is_fitting)
    trainer = trainer_in(tmp_path, looking)
    trainer.validate(Line(), loader(), verbose=False)
    assert looking.seen == {"validation": [False]}, "Lightning changed Trainer.state"
    assert not compat.is_fitting(trainer)


def test_the_number_of_epochs_is_set_late(tmp_path):
    trainer = trainer_in(tmp_path, max_epochs=-1)
    compat.set_max_epochs(trainer, 3)
    trainer.fit(Line(), loader(), loader())
    reached = (trainer.current_epoch, trainer.global_step)
    assert reached == (3, 3 * BATCHES), "Lightning changed fit_loop.max_epochs"


def test_which_batch_a_validation_follows(tmp_path):
    answers = seen(tmp_path, compat.validates_next, num_sanity_val_steps=0, val_check_interval=2)
    assert answers["batch end"] == [False, True, False] * 2, "Lightning changed _should_check_val_fx"
    limits = {"max_epochs": -1, "max_steps": 4, "num_sanity_val_steps": 0, "val_check_interval": 2}
    answers = seen(tmp_path, compat.validates_next, **limits)
    assert answers["batch end"] == [False, True, False, True]


def test_which_batch_is_the_last(tmp_path):
    answers = seen(tmp_path, compat.ends_epoch)
    assert answers["batch end"] == [False, False, True] * 2, "Lightning changed _num_ready_batches_reached"


def test_batches_are_counted_when_they_begin(tmp_path):
    answers = seen(tmp_path, compat.num_batches_begun)
    assert answers["batch start"] == [1, 2, 3] * 2, "Lightning changed the counts of its loops"
    assert answers["validation"][-2:] == [BATCHES, BATCHES], "Lightning changed the counts of its loops"


def test_an_epoch_lasts_until_it_is_counted(tmp_path):
    answers = seen(tmp_path, lambda trainer: (trainer.current_epoch, compat.is_within_epoch(trainer)))
    for hook in ("epoch start", "validation"):
        assert answers[hook][-2:] == [(0, True), (1, True)], "Lightning changed the counts of its epochs"
    assert answers["end"] == [(2, False)], "Lightning changed the counts of its epochs"


def progress(completed):
    epochs = {"ready": 2, "started": 2, "processed": 2, "completed": completed}
    batches = {"ready": 10, "started": 10, "processed": 10, "completed": 10}
    loop = {
        "epoch_progress": {"current": dict(epochs), "total": dict(epochs)},
        "epoch_loop.batch_progress": {"current": batches, "total": batches, "is_last_batch": True},
    }
    return {"loops": {"fit_loop": loop}}


def test_an_epoch_whose_batches_are_done_is_completed():
    checkpoint = progress(completed=1)
    compat.end_epoch(checkpoint)
    state = checkpoint["loops"]["fit_loop"]
    assert {counts["completed"] for counts in state["epoch_progress"].values()} == {2}
    batches = state["epoch_loop.batch_progress"]
    assert set(batches["current"].values()) == {0}
    assert batches["total"]["completed"] == 10
    assert batches["is_last_batch"] is False
    # one that is completed already stays
    checkpoint = progress(completed=2)
    compat.end_epoch(checkpoint)
    assert checkpoint == progress(completed=2)


class SavedAtEpochEnd(Callback):
    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch == 0:
            trainer.save_checkpoint(f"{trainer.default_root_dir}/epoch.ckpt")


class Ending(Line):
    def on_load_checkpoint(self, checkpoint):
        compat.end_epoch(checkpoint)


def test_a_checkpoint_at_the_end_of_an_epoch_goes_on_in_the_next(tmp_path):
    settings = {"max_epochs": -1, "max_steps": 2 * BATCHES}
    trainer_in(tmp_path, SavedAtEpochEnd(), **settings).fit(Line(), loader(), loader())
    path = tmp_path / "epoch.ckpt"
    state = torch.load(path, weights_only=True)["loops"]["fit_loop"]
    changed = "Lightning changed the loops in its checkpoints"
    counts = {"ready": 1, "started": 1, "processed": 1, "completed": 0}
    assert state["epoch_progress"]["current"] == state["epoch_progress"]["total"] == counts, changed
    assert {"current", "total", "is_last_batch"} <= set(state["epoch_loop.batch_progress"]), changed
    looking = Looking(lambda trainer: (trainer.current_epoch, trainer.global_step))
    trainer = trainer_in(tmp_path, looking, **settings)
    trainer.fit(Ending(), loader(), loader(), ckpt_path=str(path), weights_only=True)
    assert looking.seen["batch start"] == [(1, 3), (1, 4), (1, 5)], changed


@pytest.mark.parametrize("allowed", [True, False])
def test_ddp_says_whether_it_finds_unused_parameters(allowed):
    strategy = DDPStrategy(find_unused_parameters=allowed)
    trainer = SimpleNamespace(strategy=strategy)
    assert compat.finds_unused_parameters(trainer) == allowed, "Lightning changed DDPStrategy"


def test_a_strategy_of_one_process_does_not(tmp_path):
    assert not compat.finds_unused_parameters(trainer_in(tmp_path))
    assert not compat.finds_unused_parameters(SimpleNamespace(strategy=DDPStrategy()))


class Deciding(compat.DecidingCheckpoint):
    """Keeps weights that are worse than the best too, and records its calls."""

    def __init__(self, folder, at_epoch_end, **settings):
        super().__init__(folder, monitor="loss", mode="min", save_top_k=1, **settings)
        self.at_epoch_end = at_epoch_end
        self.asked = []

    def setup(self, trainer, pl_module, stage):
        super().setup(trainer, pl_module, stage)
        self.look_at_epoch_end(self.at_epoch_end)

    def is_kept(self, trainer, current, is_best):
        self.asked.append((trainer.global_step, float(current), is_best))
        return True


class Worse(Line):
    def validation_step(self, batch, batch_index):
        self.log("loss", float(self.trainer.global_step))


@pytest.mark.parametrize(
    ("at_epoch_end", "settings", "steps"),
    [(False, {}, [2, 5]), (True, {}, [3, 6]), (False, {"save_on_train_epoch_end": True}, [3, 6])],
)
def test_a_checkpoint_decides_when_it_looks_and_what_it_keeps(tmp_path, at_epoch_end, settings, steps):
    deciding = Deciding(tmp_path, at_epoch_end, filename="{step}", **settings)
    trainer = trainer_in(tmp_path, deciding, enable_checkpointing=True, val_check_interval=2)
    trainer.fit(Worse(), loader(), loader())
    asked = [step for step, _, _ in deciding.asked]
    assert asked == steps, "Lightning changed when a checkpoint looks, or check_monitor_top_k"
    assert [is_best for _, _, is_best in deciding.asked] == [True] + [False] * (len(asked) - 1)
    assert [path.name for path in tmp_path.glob("step=*.ckpt")] == [f"step={asked[-1]}.ckpt"]


def test_without_an_own_rule_the_best_is_kept(tmp_path):
    kept = compat.DecidingCheckpoint(tmp_path, monitor="loss", mode="min", filename="{step}")
    trainer_in(tmp_path, kept, enable_checkpointing=True).fit(Worse(), loader(), loader())
    assert [path.name for path in tmp_path.glob("step=*.ckpt")] == ["step=3.ckpt"]
    assert kept.step_of_best == 3, "Lightning changed _save_checkpoint"
    loaded = compat.DecidingCheckpoint(tmp_path, monitor="loss", mode="min", filename="{step}")
    loaded.load_state_dict(kept.state_dict())
    assert loaded.step_of_best == 3
