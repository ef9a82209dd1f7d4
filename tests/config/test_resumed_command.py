"""A resumed run has its own overrides; others only where they extend it."""

import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from bert_ft.config.composition import judged
from bert_ft.config.resumed_command import check_extends, with_own_overrides
from bert_ft.errors import ConfigError
from bert_ft.training.resume import checkpoint_of, resume_command
from tests.pages import ROOT, shown_commands


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Make the folder of a run with its record, as Hydra leaves it."""
    monkeypatch.chdir(tmp_path)

    def make(*overrides: str, job: str = "train", name: str = "run") -> Path:
        record = tmp_path / name / ".hydra"
        record.mkdir(parents=True)
        config = judged(job, list(overrides))
        plain = {key: value for key, value in _plain(config).items() if key != "hydra"}
        (record / "config.yaml").write_text(yaml.safe_dump(plain))
        (record / "overrides.yaml").write_text(yaml.safe_dump(list(overrides)))
        hydra = {
            "job": {"config_name": job},
            "overrides": {"task": list(overrides)},
            "runtime": {"cwd": str(tmp_path), "config_sources": []},
        }
        (record / "hydra.yaml").write_text(yaml.safe_dump({"hydra": hydra}))
        return tmp_path / name

    return make


def _plain(config):
    from omegaconf import OmegaConf

    return OmegaConf.to_container(config, resolve=False)


def resumed(*words: str) -> list[str]:
    return with_own_overrides(list(words), "train")


def extended(*words: str) -> None:
    check_extends(judged("train", resumed(*words)), words)


def test_the_run_brings_its_overrides_and_its_folder(started):
    run = started("seed=1", "optimizer.lr=1e-5")
    assert resumed("resume_from=run") == [
        "seed=1",
        "optimizer.lr=1e-5",
        f"resume_from={run}",
        f"hydra.run.dir={run}",
    ]


def test_a_checkpoint_names_its_run(started):
    run = started("seed=1")
    last = run / "checkpoints/last.ckpt"
    last.parent.mkdir()
    last.touch()
    assert resumed(f"resume_from={last}", "seed=1") == [
        "seed=1",
        f"resume_from={last}",
        f"hydra.run.dir={run}",
    ]


def test_other_folders_of_the_shell_and_odd_names(started, tmp_path, monkeypatch):
    run = started("seed=1", name="a run (1)")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    words = resumed("resume_from=../a run (1)")
    assert Path.cwd() == tmp_path  # where paths of the run's overrides start
    assert judged("train", words).hydra.run.dir == str(run)


def test_what_the_command_gives_replaces_what_the_run_had(started):
    started("trainer.max_epochs=2", "+logger.mine=null", "seed=1")
    words = resumed("resume_from=run", "trainer.max_epochs=4", "logger.mine=null")
    assert [word for word in words if "=" in word][:3] == [
        "seed=1",
        "trainer.max_epochs=4",
        "++logger.mine=null",
    ]


def test_a_run_keeps_the_defaults_that_it_had(started):
    run = started("seed=1")
    record = run / ".hydra/config.yaml"
    config = yaml.safe_load(record.read_text())
    config["optimizer"]["lr"] = 2e-4  # derived by the run, or the default of an earlier version
    config["trainer"]["val_check_interval"] = None
    lightnings = "lightning.pytorch.callbacks.EarlyStopping"
    config["callbacks"]["early_stopping"] |= {"_target_": lightnings, "patience": 10}
    record.write_text(yaml.safe_dump(config))
    found = judged("train", resumed("resume_from=run"))
    assert found.optimizer.lr == 2e-4
    assert found.trainer.val_check_interval is None
    assert found.callbacks.early_stopping["_target_"] == lightnings
    assert found.callbacks.early_stopping.patience == 10
    extended("resume_from=run", "trainer.max_epochs=4")
    extended("resume_from=run", "callbacks.early_stopping=null")


@pytest.mark.parametrize(
    "words",
    [
        ["trainer.max_epochs=4"],
        ["trainer.max_steps=100"],
        ["trainer.max_time=00:02:00:00"],
        ["trainer.max_time=null"],
        ["callbacks.early_stopping=null"],
        ["callbacks.early_stopping.patience=20"],
        ["trainer.log_every_n_steps=1", "monitor=full", "trainer.accumulate_grad_batches=2"],
        ["logger=none"],
        ["data.num_workers=2", "trainer.enable_progress_bar=false", "report=false"],
        ["seed=1"],
    ],
)
def test_what_extends_a_run(started, words):
    started(
        "trainer.max_epochs=2", "seed=1", "trainer.accumulate_grad_batches=2", "trainer.max_time=00:01:00:00"
    )
    extended("resume_from=run", *words)


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("optimizer.lr=1e-3", r"optimizer\.lr=0\.001: the run has .*, and its result depends on it"),
        ("seed=2", r"seed=2: the run has 1, and its result depends on it"),
        ("trainer.max_epochs=1", r"trainer\.max_epochs=1: the run has 2; it can only be raised"),
        ("trainer.val_check_interval=0.5", r"val_check_interval=0\.5: the run has auto"),
        (
            "+callbacks.mine._target_=bert_ft.callbacks.health.Health",
            r"callbacks\.mine\._target_=.*: the run has null",
        ),
        ("trainer.max_time=00:01:00:00", r"max_time=.*: the run has null; it can only be raised"),
        ("data.batch_size=7", r"data\.batch_size=7"),
        ("averaging=ema", r"averaging\._target_="),
    ],
)
def test_what_would_be_another_run(started, word, problem):
    started("trainer.max_epochs=2", "seed=1")
    with pytest.raises(ConfigError, match=problem) as refused:
        extended("resume_from=run", word)
    assert "you can set more epochs, steps or time" in str(refused.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stopped", "remedy"),
    [
        ("all steps done", r"add a larger trainer\.max_epochs"),
        ("no better val/accuracy for 10 validations", r"add callbacks\.early_stopping=null"),
        ("trainer.max_time is over", r"add a longer trainer\.max_time"),
    ],
)
def test_a_finished_run_needs_more_to_do(started, stopped, remedy):
    run = started("seed=1")
    (run / "metrics.json").write_text(json.dumps({"stopped": stopped}))
    with pytest.raises(ConfigError, match=r"its checkpoints were deleted .*encoder\.name_or_path=.*run"):
        extended("resume_from=run", "trainer.max_epochs=9")
    (run / "checkpoints").mkdir()
    (run / "checkpoints/last.ckpt").touch()
    with pytest.raises(
        ConfigError, match=rf"the run is finished \({stopped}\); to train it longer, {remedy}"
    ):
        extended("resume_from=run", "trainer.log_every_n_steps=1")
    extended("resume_from=run", "trainer.max_epochs=9")


def test_what_is_no_run_of_this_command(started, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"resume_from=empty: not the folder of a run"):
        resumed("resume_from=empty")
    started("seed=1", job="pretrain", name="stage")
    with pytest.raises(ConfigError, match=r"resume it with python -m bert_ft\.pretrain resume_from=stage"):
        resumed("resume_from=stage")
    run = started("seed=1")
    with pytest.raises(
        ConfigError, match=rf"hydra\.run\.dir=other: .* in its own folder, {run}; omit hydra.run.dir"
    ):
        resumed("resume_from=run", "hydra.run.dir=other")


def test_a_folder_cannot_vouch_for_itself(started):
    run = started("trust=[mine.*]")
    with pytest.raises(ConfigError, match=r"if you trust its folder, add 'trust=\[mine\.\*\]'"):
        resumed("resume_from=run")
    assert shlex.split(resume_command(run))[3:] == [f"resume_from={run}", "trust=[mine.*]"]
    resumed("resume_from=run", "trust=[mine.*]")


def test_the_latest_stage_of_a_run(tmp_path):
    assert checkpoint_of(tmp_path) is None
    for place in ("pretraining/checkpoints", "checkpoints"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "last.ckpt").touch()
        assert checkpoint_of(tmp_path) == str(tmp_path / place / "last.ckpt")


def command(cwd, *words: str, **settings):
    return subprocess.Popen(
        [sys.executable, "-m", "bert_ft.train", *words],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        **settings,
    )


def words_of(tiny_encoder, reviews, folder) -> list[str]:
    return [
        "encoder=any",
        f"encoder.name_or_path={tiny_encoder}",
        "data=files",
        *(f"data.{name}_file={path}" for name, path in reviews.items()),
        f"data.cache_dir={folder / 'cache'}",
        "data.batch_size=16",
        "data.max_length=32",
        "trainer.max_epochs=8",
        "trainer.enable_progress_bar=false",
        "monitor=none",
        "report=false",
        "callbacks.early_stopping=null",
    ]


def shown_lines(run: Path) -> list[list[str]]:
    """Return the words of the commands on the page of runs that resume a run, for this one."""
    lines = [
        command.removeprefix("train ")
        for command in shown_commands(ROOT / "docs/runs.md")
        if "resume_from" in command
    ]
    return [
        [re.sub("^resume_from=.*", f"resume_from={run}", word) for word in line.split()] for line in lines
    ]


@pytest.mark.slow
def test_commands_that_are_killed_and_pasted(tmp_path, tiny_encoder, reviews):
    """Ctrl-C, SIGTERM and SIGKILL one after the other; the printed line continues, at last to the undisturbed bytes."""
    words = words_of(tiny_encoder, reviews, tmp_path)
    whole = command(tmp_path, *words, "hydra.run.dir=whole")
    shown = whole.communicate(timeout=300)[0]
    assert whole.returncode == 0, shown
    run = tmp_path / "outputs/a run=1"
    line = ["hydra.run.dir=outputs/a run=1", *words]
    for sent, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)):
        process = command(tmp_path, *line)
        last = run / "checkpoints/last.ckpt"
        before = last.stat().st_mtime_ns if last.exists() else 0
        while process.poll() is None and not (last.exists() and last.stat().st_mtime_ns > before):
            time.sleep(0.01)
        process.send_signal(sent)
        shown = process.communicate(timeout=120)[0]
        assert process.returncode == code, shown
        if sent != signal.SIGKILL:
            assert "interrupted at step " in shown
            pasted = shlex.split(shown.splitlines()[-1].split("; to continue: ")[1])
            assert pasted == ["python", "-m", "bert_ft.train", f"resume_from={run}"]
        line = [f"resume_from={run}"]
    resume, further = shown_lines(run)
    last = command(tmp_path, *resume)
    shown = last.communicate(timeout=300)[0]
    assert last.returncode == 0, shown
    name = "model/model.safetensors"
    assert (run / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    refused = command(tmp_path, f"resume_from={run}")
    assert "the run is finished (all steps done)" in refused.communicate(timeout=100)[0]
    assert refused.returncode == 2
    more = command(tmp_path, *further)
    shown = more.communicate(timeout=100)[0]
    assert more.returncode == 0, shown
    assert (run / "metrics_before.json").exists()


@pytest.mark.slow
def test_random_moments(tmp_path, tiny_encoder, reviews):
    """A signal to all processes of a run, whenever it comes; benchmarks/interruptions.py sends more of them."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    draw = random.Random(seed)
    words = [*words_of(tiny_encoder, reviews, tmp_path), "data.num_workers=1"]
    started = time.monotonic()
    process = command(tmp_path, *words, "hydra.run.dir=whole")
    shown = process.communicate(timeout=300)[0]
    assert process.returncode == 0, shown
    seconds = time.monotonic() - started
    run, sent = tmp_path / "run", draw.choice([signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    line = [f"hydra.run.dir={run}", *words]
    process = command(tmp_path, *line, process_group=0)
    time.sleep(draw.uniform(0, seconds))
    with suppress(ProcessLookupError):
        os.killpg(process.pid, sent)
    shown = process.communicate(timeout=120)[0]
    assert process.returncode in (0, -sent, 128 + sent), shown
    assert "Traceback" not in shown
    if not (run / "metrics.json").exists():
        line = [f"resume_from={run}"] if (run / ".hydra/overrides.yaml").exists() else line
        again = command(tmp_path, *line)
        shown = again.communicate(timeout=300)[0]
        assert again.returncode == 0, shown
    for name in ("model/model.safetensors", "metrics.json"):
        expected, found = ((folder / name).read_bytes() for folder in (tmp_path / "whole", run))
        if name.endswith(".json"):
            expected, found = ({**json.loads(text), "fit_seconds": None} for text in (expected, found))
        assert found == expected, (name, sent)
