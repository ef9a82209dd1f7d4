"""The state of the process that a caller relies on, compared before and after a call."""

import logging
import os
import random
import signal
import sys
import threading
import warnings
from contextlib import contextmanager

import datasets
import numpy as np
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig


def state() -> dict:
    """Everything that is the whole process's."""
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    return {
        "random": random.getstate(),
        "numpy": str(np.random.get_state()),
        "torch": torch.get_rng_state().tolist(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "modes": (torch.is_grad_enabled(), torch.get_default_dtype(), torch.is_anomaly_enabled()),
        "deterministic": (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark),
        "matmul": torch.get_float32_matmul_precision(),
        "logging": (logging.root.level, list(logging.root.handlers), logging.root.manager.disable),
        "levels": {name: logging.getLogger(name).level for name in ("lightning.fabric", "bert_ft")},
        "warnings": (list(warnings.filters), warnings.formatwarning, warnings.showwarning),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "arguments": list(sys.argv),
        "hooks": (sys.excepthook, threading.excepthook),
        "streams": (sys.stdout, sys.stderr),
        "signals": handlers,
        "bars": datasets.are_progress_bars_disabled(),
        "hydra": (GlobalHydra.instance().hydra, HydraConfig.instance().cfg),
    }


@contextmanager
def unchanged():
    """Check that the process is the same at the end."""
    before = state()
    yield
    after = state()
    changed = {name: (before[name], after[name]) for name in before if before[name] != after[name]}
    assert not changed, list(changed)
