"""``python -m bert_ft.report``: draw the logs of a run or a search as one page."""

from typing import TYPE_CHECKING

from bert_ft.config.entry import entry_point

if TYPE_CHECKING:  # Ctrl-C is taken over first: bert_ft.config
    from omegaconf import DictConfig


class Keys:
    """Keys of ``conf/report.yaml`` and their types."""

    run: str | None
    study_name: str | None
    storage: str | None
    folder: str | None


@entry_point("report", keys=Keys)
def main(config: "DictConfig") -> None:
    """Write ``report.html`` into the run's folder, or ``study.html`` into the search's."""
    from pathlib import Path

    from bert_ft.search.study.sweep_folder import study_of

    name, storage, folder = config.study_name, config.storage, config.folder
    sweep = config.run or (folder if storage is None else None)
    if sweep is not None and (found := study_of(Path(sweep))) is not None:
        name, storage, folder = name or found[0], found[1], folder or sweep
    if storage is not None or config.run is None:
        from bert_ft.search.results.study_report import folder_of, write_study_report
        from bert_ft.search.study.storage import find_study

        study = find_study(name, storage)
        print(f"report written: {write_study_report(study, folder_of(study, folder))}")
        return

    from bert_ft.config.startup import heavy_imports

    with heavy_imports():
        from bert_ft.reporting.report import write_report

    print(f"report written: {write_report(Path(config.run))}")


if __name__ == "__main__":
    main()
