"""``python -m bert_ft.train``: fine-tune an encoder on labelled text."""

from omegaconf import DictConfig

from bert_ft.config.entry import entry_point


def warm(config: DictConfig) -> None:
    """What the process that trials of a search start from does first."""
    from bert_ft.config.trial_preparation import prepare_for_trials

    prepare_for_trials(config)


@entry_point("train", warm=warm)
def main(config: DictConfig) -> float | list[float]:
    """Run the main job and return the objective of the checkpoint that was kept, or several with ``objective.others``."""
    from bert_ft.config.startup import heavy_imports

    with heavy_imports(compiles=config.trainer.compile, kernels=config.encoder.kernels):
        from bert_ft.config.build import build_training
        from bert_ft.training.summary import print_result

    run = build_training(config)
    result = run.run()
    if run.trainer.is_global_zero:
        report = None
        if config.report and run.trainer.loggers:
            from bert_ft.reporting.board import publish_if_possible

            report = publish_if_possible(result.folder)
        print_result(result, report)
    others = [result.value(name) for name in config.objective.others]
    return [result.objective, *others] if others else result.objective


if __name__ == "__main__":
    main()
