"""``python -m bert_ft.predict``: label the rows of a file with a saved model."""

from typing import TYPE_CHECKING, Annotated, Any

from bert_ft.config.entry import entry_point
from bert_ft.limits import FileKeys, Rule, one_of

if TYPE_CHECKING:  # Ctrl-C is taken over first: bert_ft.config
    from omegaconf import DictConfig


class Keys(FileKeys):
    """Keys of ``conf/predict.yaml`` and their types."""

    probabilities: Annotated[str, one_of(("all", "top", "none"))]
    abstain: Annotated[dict[str, Any], Rule("mapping")]


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
        settings=DialectSettings.of(config, prefix=""),
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
