"""``python -m bert_ft.train``: fine-tune an encoder on labeled text."""

from typing import TYPE_CHECKING

from bert_ft.config.entry import entry_point, job_folder

if TYPE_CHECKING:  # Ctrl-C is taken over first: bert_ft.config
    from omegaconf import DictConfig


def warm(config: "DictConfig") -> None:
    """Prepare the process from which the trials of a search are forked."""
    from bert_ft.config.trial_preparation import prepare_for_trials

    prepare_for_trials(config)


def derived(config: "DictConfig") -> dict[str, object]:
    """Return the settings that a run derives, by key."""
    from bert_ft.config.trial_preparation import derived_settings

    return derived_settings(config)


@entry_point("train", warm=warm, derived=derived)
def main(config: "DictConfig") -> float | list[float]:
    """Run the main job and return the objective of the kept checkpoint, or several with ``objective.others``."""
    from bert_ft.config.startup import heavy_imports

    with heavy_imports(kernels=config.encoder.kernels):
        from bert_ft.config.build.fine_tuning import build_fine_tuning
        from bert_ft.training.stage import reached
        from bert_ft.training.summary import print_advice, print_result, print_size

    run = build_fine_tuning(config, job_folder())
    record = run.run()
    if run.trainer.is_global_zero:
        advice, report = [], None
        if config.advice:
            from bert_ft.reporting.advice import give_advice_if_possible

            advice = give_advice_if_possible(run.folder)
        if config.report and run.trainer.loggers:
            from bert_ft.reporting.board import publish_if_possible

            report = publish_if_possible(run.folder)
        print_result(record, run.folder, report)
        print_size(run.folder)
        print_advice(advice)
    objective = record["objective"]["value"]
    others = [reached(record, name) for name in config.objective.others]
    return [objective, *others] if others else objective


if __name__ == "__main__":
    main()
