"""``python -m bert_ft.train``: fine-tune an encoder on labelled text."""

from pathlib import Path

from omegaconf import DictConfig

from bert_ft.config.entry import entry_point


@entry_point("train")
def main(config: DictConfig) -> float:
    """Run the main job and return the objective of the checkpoint that was kept."""
    from bert_ft.config.startup import heavy_imports

    with heavy_imports(compiles=config.trainer.compile):
        from bert_ft.config.build import build_training
        from bert_ft.training.summary import print_result

    run = build_training(config)
    result = run.run()
    if run.trainer.is_global_zero:
        print_result(result, _draw(result.folder) if config.report and run.trainer.loggers else None)
    return result.objective


def _draw(folder: Path) -> Path:
    """The page of the run's report, which is in TensorBoard as well."""
    from bert_ft.reporting.board import add_pictures
    from bert_ft.reporting.report import write_report

    page = write_report(folder)
    add_pictures(folder)
    return page


if __name__ == "__main__":
    main()
