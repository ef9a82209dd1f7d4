"""Prepare the process from which the trials of a search are forked."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from bert_ft.config.startup import heavy_imports
from bert_ft.errors import UserError
from bert_ft.trust import IN_CONFIGURATIONS, is_trusted, targets

R = TypeVar("R")

# modules that a run imports late
IMPORTED_AHEAD = (
    "bert_ft.config.build.fine_tuning",
    "bert_ft.training.summary",
    "torch.utils.tensorboard",
    "safetensors.torch",
    "lightning.pytorch.loggers.csv_logs",
    "sklearn.metrics",
)
# packages that start nothing when they are imported, so that importing them before a fork is safe
PASSIVE = (
    "bert_ft",
    "transformers",
    "torch",
    "lightning",
    "torchmetrics",
    "tokenizers",
    "datasets",
    "huggingface_hub",
)


def prepare_for_trials(config: DictConfig) -> None:
    """Import what a run needs, and tokenize the texts once, as memory-mapped files that all trials share.

    Tokenization starts threads, which don't survive a fork, so it runs in another process. That process also reads the
    encoder's weights, which then stay in the system's file cache, and checks kernels and padding; trials don't repeat
    checks that passed.

    Raises:
        UserError: the data or the encoder can't be used.
    """
    with heavy_imports(kernels=config.encoder.kernels):
        from bert_ft.compat.transformers import keep_weight_conversions

        for name in IMPORTED_AHEAD:
            importlib.import_module(name)
        keep_weight_conversions()
        for _, target in targets(OmegaConf.to_container(config, resolve=False)):
            if is_trusted(target, (*IN_CONFIGURATIONS, *config.trust)):
                with contextlib.suppress(ImportError, ValueError):  # a trial will report it
                    importlib.import_module(target.rpartition(".")[0])
        # if it crashes, each trial will crash as well, and report why
        crashed: tuple[str | None, list[str], Checks] = (None, [], Checks())
        problem, imported, checks = _in_a_fork(_rehearse, config, otherwise=crashed)
        for name in imported:
            if name.split(".")[0] in PASSIVE:
                with contextlib.suppress(ImportError):
                    importlib.import_module(name)
        checks.take_over()
    if problem is not None:
        raise UserError(problem)


@dataclass(frozen=True)
class Checks:
    """Results of checks in one process, for other processes on the same machine.

    Attributes:
        kernels: the kernels that passed; a kernel that failed is reported by each trial.
        encoders: the encoders tried on padded batches → what fails in 16 bits.
        weights: the encoders whose weights have been read → remarks for the user.
    """

    kernels: Sequence[Any] = ()
    encoders: Mapping[tuple[str, str | None], str | None] = field(default_factory=dict)
    weights: Mapping[tuple[str, str | None], str | None] = field(default_factory=dict)

    @classmethod
    def of_this_process(cls) -> Checks:
        from bert_ft.kernels.self_check import passed
        from bert_ft.models.encoder import read, tried

        return cls(passed(), tried, read)

    def take_over(self) -> None:
        """Use these results in this process."""
        from bert_ft.kernels.self_check import take_over
        from bert_ft.models.encoder import read, tried

        take_over(self.kernels)
        tried.update(self.encoders)
        read.update(self.weights)


def derived_settings(config: DictConfig) -> dict[str, Any]:
    """Return the settings that a run derives from its encoder, by key.

    The encoder's configuration is read in another process: its imports take seconds, and this process must
    stay small.
    """
    return {} if config.optimizer.lr is not None else _in_a_fork(_derive, config, otherwise={})


def _derive(config: DictConfig) -> dict[str, Any]:
    from bert_ft.models.encoder import EncoderSpec
    from bert_ft.optim.learning_rate import default_lr

    try:
        encoder = EncoderSpec(config.encoder.name_or_path, config.encoder.revision).load_config()
    except UserError:  # the trials will report it
        return {}
    return {"optimizer.lr": default_lr(encoder.hidden_size, encoder.num_hidden_layers)}


def _in_a_fork(function: Callable[[DictConfig], R], config: DictConfig, *, otherwise: R) -> R:
    """Return ``function(config)``, computed in another process; ``otherwise`` if that crashes."""
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(duplex=False)

    def answer() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches it as well, and would print a traceback
        sender.send(function(config))

    process = fork.Process(target=answer)
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        return otherwise
    finally:
        process.join()


def _rehearse(config: DictConfig) -> tuple[str | None, list[str], Checks]:
    """Read data and encoder; return the problem, the imported modules and the results of checks."""
    from bert_ft.config.build.data import read_inputs

    before = set(sys.modules)
    problem = None
    try:
        read_inputs(config)
    except UserError as error:
        problem = str(error)
    imported = [name for name in sys.modules if name not in before]
    return problem, imported, Checks.of_this_process()
