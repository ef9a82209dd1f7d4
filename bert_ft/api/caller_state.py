"""The caller's process during a call: what training changes for the whole process is as before afterwards."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import datasets
import numpy as np
import torch

# whose levels training changes
_LOGGERS = (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.pytorch.accelerators",
    "lightning.fabric",
    "matplotlib.font_manager",
)

# that Lightning handles, or that training does; not all exist on every system
_SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGCONT")
    if hasattr(signal, name)
]


@contextmanager
def unchanged_process() -> Iterator[None]:
    """Restore the process's own state at the end.

    These are random generators, threads and modes of torch, warnings, levels of loggers, the environment, the current folder, the
    arguments of the command line, the hooks for errors and, in the main thread, the signal handlers.
    """
    with ExitStack() as restored:
        # Lightning's isolate_rng restores nothing after an error
        restored.enter_context(torch.random.fork_rng(range(torch.cuda.device_count())))
        restored.callback(random.setstate, random.getstate())
        restored.callback(np.random.set_state, np.random.get_state())
        restored.enter_context(warnings.catch_warnings())
        for restore in _restorers():
            restored.callback(restore)
        # otherwise it announces its font cache, on first use
        logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
        yield


def _restorers() -> Iterator[Callable[[], Any]]:
    environment, folder, arguments = dict(os.environ), os.getcwd(), sys.argv[:]
    levels = {name: logging.getLogger(name).level for name in _LOGGERS}
    root_handlers, root_level = logging.root.handlers[:], logging.root.level
    hooks = sys.excepthook, threading.excepthook
    with_bars = datasets.are_progress_bars_disabled()
    number = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    precision, dtype = torch.get_float32_matmul_precision(), torch.get_default_dtype()
    anomalies = torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()
    format_warning = warnings.formatwarning

    def restore() -> None:
        if dict(os.environ) != environment:
            for name in os.environ.keys() - environment.keys():
                del os.environ[name]
            os.environ.update(environment)
        if os.getcwd() != folder:
            os.chdir(folder)
        sys.argv[:] = arguments
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        logging.root.handlers[:], logging.root.level = root_handlers, root_level
        sys.excepthook, threading.excepthook = hooks
        warnings.formatwarning = format_warning
        if not with_bars:
            datasets.enable_progress_bars()

    def restore_torch() -> None:
        if torch.get_num_threads() != number:
            torch.set_num_threads(number)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = cudnn
        if torch.get_float32_matmul_precision() != precision:
            torch.set_float32_matmul_precision(precision)
        torch.set_default_dtype(dtype)
        torch.autograd.set_detect_anomaly(*anomalies)

    yield restore
    yield restore_torch
    if threading.current_thread() is threading.main_thread():
        yield from (partial(_restore_handler, number, signal.getsignal(number)) for number in _SIGNALS)


def _restore_handler(number: int, handler: Any) -> None:
    # None: a library in C has set it
    if handler is not None and signal.getsignal(number) is not handler:
        signal.signal(number, handler)
