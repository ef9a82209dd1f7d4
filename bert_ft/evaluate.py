"""``python -m bert_ft.evaluate``: measure a saved model on a labeled file."""

from typing import TYPE_CHECKING, Any, cast

from bert_ft.config.entry import entry_point
from bert_ft.limits import FileKeys

if TYPE_CHECKING:  # Ctrl-C is taken over first: bert_ft.config
    from omegaconf import DictConfig


class Keys(FileKeys):
    """Keys of ``conf/evaluate.yaml`` and their types."""

    against: str | None
    group_by: str | None
    cluster_by: str | None


@entry_point("evaluate", keys=Keys)
def main(config: "DictConfig") -> None:
    """Write a page, a JSON file and CSV files of what the model reaches, and print it."""
    from pathlib import Path

    from bert_ft.config.startup import heavy_imports

    with heavy_imports():
        import datasets
        from omegaconf import OmegaConf

        from bert_ft.data.dialect import DialectSettings
        from bert_ft.data.targets import label_names
        from bert_ft.inference.device import choose_device
        from bert_ft.inference.evaluate_file import check_output, evaluate_file, load_other
        from bert_ft.models.bundle import load_bundle
        from bert_ft.reporting.evaluation_page import print_evaluation, write_evaluation

    datasets.disable_progress_bars()
    folder = Path(config.output).expanduser()
    check_output(folder, overwrite=config.overwrite)
    bundle = load_bundle(config.bundle, config.trust)
    found, rows = evaluate_file(
        bundle,
        config.input,
        name=config.bundle,
        against=None if config.against is None else load_other(config.against, config.trust),
        against_name=config.against,
        group_by=config.group_by,
        cluster_by=config.cluster_by,
        text_column=config.text_column,
        text_pair_column=config.text_pair_column,
        label_column=label_names(config.label_column),
        settings=DialectSettings.of(config, prefix=""),
        batch_size=config.batch_size,
        max_tokens=config.max_tokens,
        device=choose_device(config.accelerator),
    )
    page = write_evaluation(
        found, rows, folder, settings=cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True))
    )
    print_evaluation(found, rows, folder, page)


if __name__ == "__main__":
    main()
