"""One training, as the command ``bert_ft.train`` does it: composed, checked, run, reported."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from bert_ft import layout
from bert_ft.api.caller_state import unchanged_process
from bert_ft.atomic_file import write
from bert_ft.compat.hydra import beside_the_callers_hydra
from bert_ft.config.build.fine_tuning import GivenData, build_fine_tuning
from bert_ft.config.composition import judged
from bert_ft.config.resumed_command import check_extends, with_own_overrides
from bert_ft.config.run_folder import claim
from bert_ft.config.text_values import text_override, with_quoted_texts
from bert_ft.errors import UserError
from bert_ft.renamed_keys import with_new_names
from bert_ft.signals import ending_the_call
from bert_ft.training.summary import print_advice, print_result, print_size, quiet

if TYPE_CHECKING:
    from bert_ft.training.fine_tuning import FineTuning

_JOB = "train"
_NO_BAR = "trainer.enable_progress_bar=false"


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        record: content of ``metrics.json``.
        folder: folder of the run.
        trust: patterns of the names of the user's own classes.
    """

    record: dict[str, Any]
    folder: Path
    trust: tuple[str, ...]


def run_stage(run: FineTuning, *, report: bool, advice: bool) -> dict[str, Any]:
    """Run a stage that was built, write its advice and report, print the results; return the content of ``metrics.json``."""
    record = run.run()
    if run.trainer.is_global_zero:
        page = None
        if advice:
            from bert_ft.reporting.advice import give_advice_if_possible

            record["advice"] = give_advice_if_possible(run.folder)
        if report and run.trainer.loggers:
            from bert_ft.reporting.board import publish_if_possible

            page = publish_if_possible(run.folder)
        print_result(record, run.folder, page)
        print_size(run.folder)
        print_advice(record.get("advice", []))
    return record


def train(
    overrides: Sequence[str],
    folder: Path | str | None,
    *,
    given: GivenData | None = None,
    verbose: bool = False,
) -> Trained:
    """Train with the overrides of a command, and leave the caller's process as it was.

    Args:
        overrides: ``key=value``, as on the command line.
        folder: folder of the run, empty or new; ``None``: named by the time, as by the command.
        given: data that replaces the configured source.
        verbose: print the data report, a progress bar and the results.

    Raises:
        UserError: the data, the encoder or the configuration can't be used.
        KeyboardInterrupt: Ctrl-C was received; a checkpoint is in the folder.
    """
    with unchanged_process(), quiet(not verbose), ending_the_call():
        with beside_the_callers_hydra():
            config, words = _composed(overrides, folder, verbose)
        claimed = claim(config, words)
        try:
            _record(config, claimed.path, is_repeatable=given is None)
            del config.hydra
            run = build_fine_tuning(config, claimed.path, given)
        except UserError:
            claimed.give_back()
            raise
        return Trained(
            run_stage(run, report=config.report, advice=config.advice), claimed.path, tuple(config.trust)
        )


def _composed(
    overrides: Sequence[str], folder: Path | str | None, verbose: bool
) -> tuple[DictConfig, list[str]]:
    """Return the checked configuration, with Hydra's part, and the overrides."""
    words = with_new_names(overrides)
    words = words if verbose else [_NO_BAR, *words]
    if folder is not None:
        words = [*words, text_override("hydra.run.dir", os.path.abspath(Path(folder).expanduser()))]
    words = with_own_overrides(with_quoted_texts(words), _JOB)
    config = judged(_JOB, words)
    if config.get("resume_from") is not None:
        check_extends(config, overrides)
    return config, words


def _record(config: DictConfig, folder: Path, *, is_repeatable: bool) -> None:
    """Write what Hydra writes about a job, by which a command resumes and repeats it."""
    hydra = cast(Any, config.hydra)
    with read_write(config), open_dict(config):
        hydra.runtime.cwd, hydra.runtime.output_dir = os.getcwd(), str(folder)
        hydra.job.config_name = _JOB
    plain = OmegaConf.masked_copy(config, [str(name) for name in config if name != "hydra"])
    files: dict[str, Any] = {
        layout.CONFIG_FILE: plain,
        layout.HYDRA_FILE: OmegaConf.masked_copy(config, ["hydra"]),
    }
    if is_repeatable:
        own = [
            word for word in hydra.overrides.task if word != _NO_BAR and not str(word).startswith("hydra.")
        ]
        files[layout.OVERRIDES_FILE] = OmegaConf.create(own)
    (folder / layout.HYDRA_FOLDER).mkdir(exist_ok=True)
    for name, content in files.items():
        write(folder / name, OmegaConf.to_yaml(content).encode())
