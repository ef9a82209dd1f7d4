"""Where a prediction is computed."""

import torch

from bert_ft.errors import ConfigError


def choose_device(accelerator: str) -> torch.device:
    """``cpu``, ``cuda``, or with ``auto`` the GPU if there is one.

    Raises:
        ConfigError: ``cuda`` was asked for and there is none.
    """
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise ConfigError("accelerator=cuda: torch finds no GPU; use accelerator=auto or cpu")
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(accelerator)
