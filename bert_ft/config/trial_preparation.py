"""What the process does that the trials of a search are forked from."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection

from omegaconf import DictConfig

from bert_ft.config.startup import heavy_imports
from bert_ft.errors import UserError


def prepare_for_trials(config: DictConfig) -> None:
    """Import what a run needs, and have the texts tokenized once, which then lie memory-mapped for all trials.

    Tokenization starts threads, which don't survive a fork, so it happens in another process.

    Raises:
        UserError: the data can't be used.
    """
    with heavy_imports(compiles=config.trainer.compile):
        pass
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(duplex=False)
    process = fork.Process(target=_tokenize, args=(config, sender))
    process.start()
    sender.close()
    try:
        problem = receiver.recv()
    except EOFError:
        problem = None  # it crashed, as each trial will, and will say why
    process.join()
    if problem is not None:
        raise UserError(problem)


def _tokenize(config: DictConfig, sender: Connection) -> None:
    from bert_ft.config.build import prepare_data

    try:
        prepare_data(config)
        sender.send(None)
    except UserError as error:
        sender.send(str(error))
