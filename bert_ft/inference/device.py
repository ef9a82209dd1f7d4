"""The device for predictions."""

import torch

from bert_ft.errors import ConfigError


def choose_device(accelerator: str) -> torch.device:
    """Return ``cpu``, ``cuda``, or with ``auto`` the GPU if there is one.

    Raises:
        ConfigError: ``cuda`` was requested but is not available.
    """
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise ConfigError("accelerator=cuda: torch finds no GPU; use accelerator=auto or cpu")
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(accelerator)
