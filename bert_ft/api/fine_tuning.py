"""``bert_ft.fine_tune``: the command ``bert_ft.train`` from Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bert_ft import layout
from bert_ft.inference.model import Model, load


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: its folder, with ``model/``, ``metrics.json``, ``report.html`` and the logs.
        metrics: content of ``metrics.json``: ``val`` and ``test`` hold the scores of the kept weights.
        trust: patterns of the names of your own classes that its model may name.
    """

    folder: Path
    metrics: dict[str, Any]
    trust: tuple[str, ...] = ()

    @cached_property
    def model(self) -> Model:
        """The trained model, ready to predict."""
        return load(self.folder / layout.MODEL_FOLDER, trust=self.trust)


def fine_tune(
    overrides: Sequence[str] = (), *, folder: Path | str | None = None, verbose: bool = False
) -> Run:
    """Fine-tune an encoder, as ``python -m bert_ft.train`` with these overrides does.

    Everything of the process that training changes, such as random generators, is as before afterwards. To resume a run, give
    ``resume_from=<its folder>``.

    Args:
        overrides: ``key=value`` and ``group=choice``, as on the command line, without the quotes of a shell.
        folder: folder of the run, empty or new; ``None``: ``outputs/train/<time>``.
        verbose: print the data report, a progress bar and the results.

    Raises:
        ValueError: the data, the encoder or a setting can't be used; the message names it.
        KeyboardInterrupt: you stopped it; ``resume_from`` continues the run.

    Example:
        >>> run = bert_ft.fine_tune(["data=files", "data.train_file=reviews.csv", *settings], folder="runs/a")
        >>> sorted(run.metrics["val"])
        ['accuracy', 'f1_macro', 'loss']
        >>> run.model.predict(["a lovely film"]).tolist()
        ['positive']
    """
    from bert_ft.api.job import train

    if isinstance(overrides, str):
        raise TypeError(f"overrides: got one text; pass a list, e.g. [{overrides!r}]")
    trained = train(overrides, folder, verbose=verbose)
    return Run(trained.folder, trained.record, trained.trust)
