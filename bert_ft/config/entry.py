"""Hydra's command line, with one clear message and exit code 2 for any mistake of the user."""

from __future__ import annotations

import argparse
import functools
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig

import bert_ft
from bert_ft.atomic_file import write
from bert_ft.compat.hydra import command_line, quoted, whole_records
from bert_ft.config.paths import conf_dir
from bert_ft.config.ranks import command_of_the_job
from bert_ft.config.resumed_command import check_extends, with_own_overrides
from bert_ft.config.run_folder import RunFolder, claim, interrupted
from bert_ft.config.text_values import with_quoted_texts
from bert_ft.errors import (
    ConfigError,
    Interrupted,
    UserError,
    in_one_line,
    is_of_a_library,
    is_unwritable,
    noting_unwritten,
    unwritten,
    what_is_unwritable,
)
from bert_ft.renamed_keys import move_renamed, old_names, with_new_names
from bert_ft.signals import Signals, end_if_unread, raise_on_interrupt, say
from bert_ft.trust import IN_HYDRA

Task = Callable[[DictConfig], Any]

log = logging.getLogger(__name__)

OF_THE_SEARCH = ("hydra/sweeper=optuna", "hydra.sweeper.", "hydra/sweeper/")
MAPPINGS_OF_THE_SEARCH = tuple(f"hydra.sweeper.{name}={{" for name in ("params", "conditions", "callbacks"))
ADDED_GROUPS = ("+experiment=", "+debug=")  # null in the list of defaults, where Hydra then refuses the plus


def entry_point(
    config_name: str,
    *,
    keys: type | None = None,
    warm: Callable[[DictConfig], None] | None = None,
    derived: Callable[[DictConfig], dict[str, Any]] | None = None,
) -> Callable[[Task], Callable[..., Any]]:
    """Turn ``task(config)`` into a command, which reads the command line if called without arguments.

    Called with a configuration, it runs the task and returns its result. ``keys`` is a class whose annotations are the
    types of the command's own keys. ``warm(config)`` imports what the task needs; a search calls it before it forks its
    trials. ``derived(config)`` returns the settings that the task derives, by key: a search's first trial has them.
    """

    def decorate(task: Task) -> Callable[..., Any]:
        problems = functools.partial(_problems, keys=keys)

        @functools.wraps(task)
        def checked(config: DictConfig) -> Any:
            # otherwise it announces its font cache, on first use
            logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
            for line in move_renamed(config):
                log.info(line)
            found = problems(config)
            if found:
                from bert_ft.config.composition import listed

                raise ConfigError(listed(found))
            with command_of_the_job(f"bert_ft.{config_name}"):
                return task(config)

        # read by the sweeper
        checked.problems = problems  # type: ignore[attr-defined]
        checked.warm = warm  # type: ignore[attr-defined]
        checked.derived = derived  # type: ignore[attr-defined]

        @functools.wraps(task)
        def command(config: DictConfig | None = None) -> Any:
            return _run(checked, config_name, keys) if config is None else checked(config)

        return command

    return decorate


def job_folder() -> Path:
    """Return the folder that Hydra created for the job."""
    return Path(HydraConfig.get().runtime.output_dir)


def _problems(config: DictConfig, keys: type | None) -> list[str]:
    """Return the problems of a configuration; the import is late, since a command that only prints needs no check."""
    from bert_ft.config.check import problems

    return problems(config, keys)


def _run(task: Task, config_name: str, keys: type | None) -> None:
    # Hydra then passes exceptions on instead of ending the process, so that we choose the message and the exit code
    whole_errors = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"
    gc.disable()  # until the heavy imports are done: bert_ft.config.startup
    if "--version" in sys.argv[1:]:
        print(f"bert_ft {bert_ft.__version__}")
        return
    words = [_as_choice(word) for word in sys.argv[1:]]
    sys.argv[1:] = with_new_names(words)
    for line in old_names(words, sys.argv[1:]):
        print(line, file=sys.stderr)
    is_sweep = _is_sweep()
    sys.argv[1:] = with_quoted_texts(sys.argv[1:], sweep=is_sweep, keys=keys)
    folder: RunFolder | None = None
    signals = Signals(lambda: say(interrupted(folder)))
    if is_sweep:
        raise_on_interrupt()  # the sweeper reports what is unfinished then
    try:
        if _is_answered(config_name, command_line()):
            return
        with nullcontext() if is_sweep else signals.taken(), whole_records(write), noting_unwritten():
            if is_sweep and ((arguments := command_line()).cfg or arguments.info):
                sys.argv[1:] = _without_multirun(config_name, arguments)
            given = sys.argv[1:]
            if is_sweep:
                from bert_ft.config.composition import with_conditional_choices

                typed = command_line().overrides
                flags = [word for word in given if word not in typed]
                sys.argv[1:] = [*flags, *with_conditional_choices(config_name, typed)]
            else:
                sys.argv[1:] = with_own_overrides(given, config_name)
            folder = _before(config_name, command_line(), given, keys)
            wrapped = hydra.main(
                config_path=str(conf_dir()), config_name=config_name, execution_whitelist=IN_HYDRA
            )
            wrapped(_stopping(task, folder))()
            sys.stdout.flush()
            if unwritten:
                raise unwritten[-1]  # the latest is the most specific
    except (UserError, CompactHydraException) as error:
        _stop(error)
    except BrokenPipeError as error:
        end_if_unread(error)
    except OSError as error:
        _stop_unwritten(error, folder)
    except KeyboardInterrupt:
        signal.signal(
            signal.SIGINT, signal.SIG_IGN
        )  # another Ctrl-C would print a traceback while Python ends
        say("interrupted")
        sys.exit(130)
    except Interrupted:
        if signals.received is not None:  # otherwise a stage has reported it
            say(interrupted(folder))
        raise
    except Exception as error:
        if type(error).__name__ == "TrialPruned" and "LOCAL_RANK" in os.environ:
            return  # another process of the trial, which Lightning would consider broken
        if whole_errors or not is_of_a_library(error):
            raise
        _stop(f"{in_one_line(error)} (HYDRA_FULL_ERROR=1 shows where)")


def _is_answered(config_name: str, arguments: argparse.Namespace) -> bool:
    """Answer ``--help`` and ``-sc``, which Hydra would answer with its own texts; return whether it was one of them."""
    if arguments.help:
        from bert_ft.config.help_text import print_help

        print_help(config_name, arguments.overrides)
    elif arguments.shell_completion:
        from bert_ft.config.completion import run

        run(arguments.overrides)
        sys.stdout.flush()
    return bool(arguments.help or arguments.shell_completion)


def _is_sweep() -> bool:
    return command_line().multirun or any(word.lower() == "hydra.mode=multirun" for word in sys.argv)


def _without_multirun(config_name: str, arguments: argparse.Namespace) -> list[str]:
    """Return the words of ``--multirun --cfg ...``, which Hydra refuses, changed to show the sweep's first job."""
    from bert_ft.config.composition import first_job

    removed = {"-m", "--multirun", *arguments.overrides}
    flags = [word for word in sys.argv[1:] if word not in removed]
    return [*flags, *first_job(config_name, arguments.overrides), "hydra.mode=MULTIRUN"]


def _as_choice(word: str) -> str:
    """Return ``experiment=x`` for ``+experiment=x``; users of Hydra write either, depending on the list of defaults."""
    if word.startswith(MAPPINGS_OF_THE_SEARCH):
        return f"++{word}"  # its keys have dots, which Hydra merges only this way
    return word[1:] if word.startswith(ADDED_GROUPS) else word


def _before(
    config_name: str, arguments: argparse.Namespace, given: Sequence[str], keys: type | None
) -> RunFolder | None:
    """Check the command and claim its folder before Hydra writes anything; return ``None`` if it has no folder.

    ``given`` are the typed words, without the overrides of a resumed run.
    """
    only_shows = arguments.cfg or arguments.hydra_help or arguments.info
    # with other configuration files than ours, the job checks its configuration itself
    elsewhere = arguments.config_path or arguments.config_name
    if only_shows or elsewhere or arguments.experimental_rerun:
        return None
    overrides = list(arguments.overrides)
    if arguments.config_dir is not None:
        own = Path(arguments.config_dir).absolute()
        if not own.is_dir():
            raise ConfigError(f"--config-dir={arguments.config_dir}: no such folder")
        overrides.insert(0, f"hydra.searchpath=[{quoted(f'file://{own}')}]")
    from bert_ft.config.composition import judged

    is_sweep = _is_sweep()
    if not is_sweep and (searching := [word for word in overrides if word.startswith(OF_THE_SEARCH)]):
        raise ConfigError(f"{searching[0]}: belongs to a search; add --multirun hydra/sweeper=optuna")
    if is_sweep and "LOCAL_RANK" in os.environ:
        raise ConfigError(
            f"LOCAL_RANK={os.environ['LOCAL_RANK']}: a sweep can't run as one of several processes; start it once, without "
            "torchrun, and give its jobs trainer.devices"
        )
    config = judged(config_name, overrides, sweep=is_sweep, keys=keys)
    if is_sweep or config.hydra.output_subdir is None:
        return None
    if config.get("resume_from") is not None:
        check_extends(config, given)
    folder = claim(config, arguments.overrides)
    # otherwise Hydra would compose the name, which contains the time, a second time
    sys.argv.append(f"hydra.run.dir={quoted(str(folder.path))}")
    return folder


def _stopping(task: Task, folder: RunFolder | None) -> Task:
    """Wrap ``task`` so that an error of the user ends a single run before Hydra adds its own message.

    In a sweep the sweeper handles the error.
    """

    @functools.wraps(task)
    def run(config: DictConfig) -> Any:
        try:
            return task(config)
        except UserError as error:
            if HydraConfig.get().mode != RunMode.RUN:
                raise
            if folder is not None:
                logging.shutdown()  # the log is in the folder
                folder.give_back()
            _stop(error)
        except OSError as error:
            if HydraConfig.get().mode != RunMode.RUN:
                raise
            logging.shutdown()
            _stop_unwritten(error, folder)

    return run


def _stop(error: Exception | str) -> None:
    if isinstance(error, MissingConfigException):
        from bert_ft.config.composition import missing

        error = missing(error)
    print(error, file=sys.stderr)
    sys.exit(2)


def _stop_unwritten(error: OSError, folder: RunFolder | None = None) -> None:
    """End with one line that says what couldn't be written; re-raise other errors, which are faults of this package."""
    if not is_unwritable(error):
        raise error
    print(what_is_unwritable(error, None if folder is None else folder.path), file=sys.stderr)
    sys.exit(1)
