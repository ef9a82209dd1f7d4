"""What one sees while a run trains: a bar in a terminal, a line for each validation in a file."""

import re
from types import SimpleNamespace

import pytest
from lightning.pytorch.callbacks import Timer

from bert_ft.callbacks import time_left
from bert_ft.callbacks.progress_bar import ProgressBar
from bert_ft.callbacks.time_left import TimeLeft, shown
from tests.training.running import train

SHOWN = ["trainer.enable_progress_bar=true", "test=false"]
TERMINAL = "+callbacks.progress_bar.console_kwargs={force_terminal:true,width:130}"


def test_the_time_left_counts_the_steps_after_the_first(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time_left.time, "monotonic", lambda: now[0])
    estimate = TimeLeft()
    assert estimate.seconds(0, 50) is None
    estimate.see(21)  # a resumed run
    assert estimate.seconds(21, 50) is None
    now[0] = 120.0
    assert estimate.seconds(31, 50) == pytest.approx(38)
    assert estimate.seconds(31, float("inf")) is None
    assert estimate.seconds(50, 50) == 0
    assert [shown(3723.4), shown(None)] == ["1:02:03", "-:--:--"]


@pytest.mark.parametrize(("limit", "left"), [("00:00:00:30", 30), ("00:01:00:00", 90)])
def test_the_limit_of_time_counts(limit, left):
    timer = Timer(limit)
    timer.on_train_start(None, None)
    bar = ProgressBar()
    bar.time_left = SimpleNamespace(seconds=lambda step, total: 90.0)
    trainer = SimpleNamespace(callbacks=[bar, timer], global_step=1, estimated_stepping_batches=10)
    assert bar.seconds_left(trainer) == pytest.approx(left, abs=1)


def lines(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("step ")]


@pytest.mark.slow
def test_a_log_has_a_line_for_each_validation(tmp_path, tiny_encoder, reviews, capsys):
    train(tmp_path, tiny_encoder, reviews, "trainer.max_epochs=2", *SHOWN)
    output = capsys.readouterr().out
    found = lines(output)
    assert len(found) == 2
    for number, line in enumerate(found, start=1):
        assert re.fullmatch(
            rf"step {10 * number}/20, epoch {number}/2: train/loss_plain \d\.\d{{4}}, val/loss \d\.\d{{4}}, "
            rf"val/accuracy \d\.\d{{4}}, val/f1_macro \d\.\d{{4}}, best val/accuracy \d\.\d{{4}} \(step \d+\), "
            rf"\d:\d\d:\d\d left",
            line,
        )
    assert "━━━ " not in output


@pytest.mark.slow
def test_a_resumed_run_says_so_and_knows_the_best(tmp_path, tiny_encoder, reviews, capsys):
    train(tmp_path, tiny_encoder, reviews, "trainer.max_epochs=1", *SHOWN)
    best = re.search(r"best .*\)", lines(capsys.readouterr().out)[0])
    (tmp_path / "metrics.json").unlink()
    last = tmp_path / "checkpoints/last.ckpt"
    worse = ["optimizer.lr=1e-9", f"resume_from={last}"]
    train(tmp_path, tiny_encoder, reviews, "trainer.max_epochs=2", *worse, *SHOWN)
    output = capsys.readouterr().out
    assert f"resuming at step 10, from {last}" in output
    assert lines(output)[0].startswith("step 20/20, epoch 2/2: ")
    assert best is not None
    assert "(step 10)" in best[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["trainer.max_epochs=1"], "Epoch 1/1"),
        (["trainer.max_epochs=null", "trainer.max_steps=13"], "Epoch 2/2"),  # 10 steps an epoch
    ],
)
def test_a_terminal_has_a_bar(tmp_path, tiny_encoder, reviews, capsys, overrides, name):
    train(tmp_path, tiny_encoder, reviews, *overrides, *SHOWN, TERMINAL)
    output = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().out)
    bars = [line.strip() for line in re.split(r"[\r\n]", output) if line.startswith("Epoch")]
    assert re.match(
        rf"{name} .* (\d+)/\1 \s*0:00:00 left .*it/s loss: \d\.\d{{3}} val/loss: \d\.\d{{3}} val/accuracy: \d\.\d{{3}} "
        r"best: \d\.\d{3}",
        bars[-1],
    )
    assert not lines(output)
    assert not any("/0" in bar or "/-" in bar or "Epoch 0" in bar for bar in bars)
