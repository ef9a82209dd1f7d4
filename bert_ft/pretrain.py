"""``python -m bert_ft.pretrain``: adapt an encoder to texts, and save it as a Hugging Face folder."""

from typing import TYPE_CHECKING

from bert_ft.config.entry import entry_point, job_folder

if TYPE_CHECKING:  # Ctrl-C is taken over first: bert_ft.config
    from omegaconf import DictConfig


@entry_point("pretrain")
def main(config: "DictConfig") -> float:
    """Run only the pre-training stage, and return the held-out loss of the kept weights."""
    from bert_ft.config.startup import heavy_imports

    with heavy_imports(kernels=config.encoder.kernels):
        from bert_ft.config.build.pretraining import build_pretraining
        from bert_ft.training.summary import print_advice, print_pretraining, print_size

    run = build_pretraining(config, job_folder())
    record = run.run()
    if run.trainer.is_global_zero:
        advice, report = [], None
        if config.advice:
            from bert_ft.reporting.advice import give_advice_if_possible

            advice = give_advice_if_possible(run.folder)
        if config.report and run.trainer.loggers:
            from bert_ft.reporting.board import publish_if_possible

            report = publish_if_possible(run.folder)
        print_pretraining(record, run.folder, report)
        print_size(run.folder)
        print_advice(advice)
    return record["objective"]["value"]


if __name__ == "__main__":
    main()
