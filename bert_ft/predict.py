"""``python -m bert_ft.predict``: label the rows of a file with a saved model."""

from typing import TYPE_CHECKING, Annotated, Any

from bert_ft.config.entry import entry_point
from bert_ft.limits import TEXT_OR_TEXTS, Count, Rule, one_of

if TYPE_CHECKING:  # Ctrl-C is taken over first: bert_ft.config
    from omegaconf import DictConfig


class Keys:
    """Keys of ``conf/predict.yaml`` and their types."""

    bundle: str
    input: str
    output: str
    text_column: str | None
    text_pair_column: str | None
    label_column: Annotated[Any, Rule(TEXT_OR_TEXTS, nullable=True)]
    delimiter: str | None
    encoding: str | None
    quoting: Annotated[str, one_of(("quotes", "none"))] | None
    header: bool | None
    columns: list[str] | None
    probabilities: Annotated[str, one_of(("all", "top", "none"))]
    overwrite: bool
    abstain: Annotated[dict[str, Any], Rule("mapping")]
    batch_size: Count
    max_tokens: Count
    accelerator: Annotated[str, one_of(("auto", "cpu", "cuda"))]


@entry_point("predict", keys=Keys)
def main(config: "DictConfig") -> None:
    """Write the input's rows with predictions and probabilities."""
    from pathlib import Path

    from bert_ft.config.startup import heavy_imports

    with heavy_imports():
        import datasets

        from bert_ft.data.dialect import DialectSettings
        from bert_ft.data.targets import label_names
        from bert_ft.inference.abstaining import Promises, abstaining
        from bert_ft.inference.device import choose_device
        from bert_ft.inference.files import check_target, predict_file
        from bert_ft.models.bundle import load_bundle

    datasets.disable_progress_bars()
    check_target(Path(config.input), Path(config.output), overwrite=config.overwrite)
    promises = Promises(**config.abstain)
    bundle = load_bundle(config.bundle, config.trust)
    refusing = abstaining(bundle.task, bundle.validation_scores, promises)
    labeled = predict_file(
        bundle,
        config.input,
        config.output,
        text_column=config.text_column or bundle.text_column,
        text_pair_column=config.text_pair_column or bundle.text_pair_column,
        label_column=label_names(config.label_column) or bundle.label_column,
        settings=DialectSettings(
            config.delimiter,
            config.encoding,
            config.quoting,
            config.header,
            None if config.columns is None else tuple(config.columns),
            prefix="",
        ),
        probabilities=config.probabilities,
        refusing=refusing,
        overwrite=config.overwrite,
        batch_size=config.batch_size,
        max_tokens=config.max_tokens,
        device=choose_device(config.accelerator),
    )
    for line in labeled.lines(config.output):
        print(line)


if __name__ == "__main__":
    main()
