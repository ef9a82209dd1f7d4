"""``python -m bert_ft.report``: draw what a run logged, as one page."""

from omegaconf import DictConfig

from bert_ft.config.entry import entry_point


@entry_point("report")
def main(config: DictConfig) -> None:
    """Write ``report.html`` into the run's folder."""
    from pathlib import Path

    from bert_ft.config.startup import heavy_imports

    with heavy_imports():
        from bert_ft.reporting.report import write_report

    print(f"report written: {write_report(Path(config.run))}")


if __name__ == "__main__":
    main()
