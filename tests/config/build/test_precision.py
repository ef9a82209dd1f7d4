"""``trainer.precision=auto``."""

from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf

from bert_ft.config.build.precision import decide_precision
from bert_ft.errors import ConfigError
from bert_ft.training.precision import automatic_precision


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ([], 32),
        ([(6, 1)], 32),
        ([(7, 0)], "16-mixed"),
        ([(7, 5), (9, 0)], "16-mixed"),
        ([(8, 0)], "bf16-mixed"),
        ([(12, 0)], "bf16-mixed"),
    ],
)
def test_the_automatic_precision(capabilities, expected):
    assert automatic_precision(capabilities) == expected


@pytest.mark.parametrize(
    ("accelerator", "refuses", "decided", "said"),
    [
        ("cuda", False, "bf16-mixed", "trainer.precision: bf16-mixed, the default on this GPU"),
        ("cuda", True, 32, "trainer.precision: 32, since deberta-v2 can't be trained in 16 bits"),
        ("cpu", False, 32, "trainer.precision: 32, the default here"),
    ],
)
def test_the_automatic_precision_is_decided_once(monkeypatch, accelerator, refuses, decided, said):
    """Said, and set where a configuration is recorded."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda gpu: (8, 0))

    def check(config, setting):
        if refuses:
            raise ConfigError(setting)

    inputs = SimpleNamespace(
        encoder=SimpleNamespace(check_half_precision=check),
        encoder_config=SimpleNamespace(model_type="deberta-v2"),
    )
    config = OmegaConf.create(
        {"trainer": {"accelerator": accelerator, "precision": "auto"}, "stage": "${trainer.precision}"}
    )
    precision, notice = decide_precision(config.trainer, lambda: inputs)
    assert (config.stage, notice) == (decided, said)
    assert precision.effective == ("32-true" if decided == 32 else decided)
    assert decide_precision(config.trainer, lambda: inputs) == (precision, "")
