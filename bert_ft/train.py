"""``python -m bert_ft.train``: fine-tune an encoder on labelled text."""

from omegaconf import DictConfig

from bert_ft.config.entry import entry_point


@entry_point("train")
def main(config: DictConfig) -> float:
    """Run the main job and return the objective of the checkpoint that was kept."""
    from bert_ft.config.lean_imports import defer_unused_imports
    from bert_ft.training.memory import keep_freed_memory

    if not config.trainer.compile:
        defer_unused_imports()
    keep_freed_memory()  # before torch is imported
    # heavy: torch, lightning, transformers
    from bert_ft.config.build import build_training
    from bert_ft.training.summary import print_result

    run = build_training(config)
    result = run.run()
    if run.trainer.is_global_zero:
        print_result(result)
    return result.objective


if __name__ == "__main__":
    main()
