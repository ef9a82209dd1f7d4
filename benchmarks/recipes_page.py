"""What ``benchmarks.recipes`` measured, as a page of tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import mean, stdev
from typing import Any

Results = dict[str, dict[str, dict[str, dict[str, Any]]]]  # recipe → data set → seed → scores

NAMES = {
    "residual": "`bert_ft`, defaults",
    "linear": "`bert_ft`, `model=bert_linear`",
    "hf": "Hugging Face Trainer, defaults",
    "hf_tuned": "the same, lr and epochs tuned",
    "autogluon": "AutoGluon's recipe",
}


def page(results: Results, datasets: Sequence[str], development: Sequence[str]) -> str:
    """Markdown: accuracy and macro-F1 of the recipes, and what each technique changed on the development rows."""
    recipes = [recipe for recipe in NAMES if recipe in results]
    parts = [
        "# Accuracy of whole recipes\n\n"
        "Written by `python -m benchmarks.recipes`, which says how each is trained; every job stands in "
        "`recipes.json`. At most 1,000 training rows, texts cut at 64 tokens, MiniLM in bf16. Mean ± standard deviation "
        "over seeds, each with rows of its own (their number in brackets where it isn't 5). The mean over the data "
        "sets is taken for each seed first. Seconds are processor time of the whole command, by the data sets' mean; "
        "other work ran on the machine meanwhile.",
        "## Accuracy, %\n\n" + "\n".join(_recipes(results, recipes, datasets, "accuracy")),
        "## Macro-F1, %\n\n" + "\n".join(_recipes(results, recipes, datasets, "f1_macro")),
        "## Settings that were tried\n\n"
        "On rows that no table above has, about 2,000 to judge by: two runs that differ by less than 1.5 points can't "
        "be told apart. Each is one change to *base* (400 steps of 16, lr 1e-4, the last weights) or to *fast* (the same "
        "with lr 2e-4). Accuracy in %, one number for each seed, and processor seconds.\n\n"
        + "\n".join(_variants(results, development)),
    ]
    return "\n\n".join(parts) + "\n"


def _recipes(results: Results, recipes: Sequence[str], datasets: Sequence[str], key: str) -> Iterator[str]:
    yield _row(["recipe", *datasets, "mean", "seconds"])
    yield _row(["---"] * (len(datasets) + 3))
    for recipe in recipes:
        found = results[recipe]
        by_seed = {
            name: {seed: 100 * one[key] for seed, one in found.get(name, {}).items()} for name in datasets
        }
        common = set.intersection(*(set(values) for values in by_seed.values()))
        means = [mean(values[seed] for values in by_seed.values()) for seed in sorted(common)]
        seconds = [
            mean(one["seconds"] for one in found[name].values()) for name in datasets if found.get(name)
        ]
        yield _row(
            [
                NAMES[recipe],
                *(_spread(list(values.values())) for values in by_seed.values()),
                _spread(means, digits=2),
                f"{mean(seconds):.0f}" if len(seconds) == len(datasets) else "",
            ]
        )


def _variants(results: Results, development: Sequence[str]) -> Iterator[str]:
    yield _row(["setting", *development, "seconds"])
    yield _row(["---"] * (len(development) + 2))
    for recipe, found in results.items():
        tried = [found[name] for name in development if name in found]
        if tried:
            seconds = mean(one["seconds"] for runs in tried for one in runs.values())
            yield _row([recipe, *(_each(found.get(name, {})) for name in development), f"{seconds:.0f}"])


def _spread(values: Sequence[float], digits: int = 1) -> str:
    if not values:
        return ""
    text = f"{mean(values):.{digits}f}"
    if len(values) > 1:
        text += f" ± {stdev(values):.{digits}f}"
    return text if len(values) == 5 else f"{text} ({len(values)})"


def _each(runs: dict[str, dict[str, Any]]) -> str:
    return ", ".join(f"{100 * runs[seed]['accuracy']:.1f} (seed {seed})" for seed in sorted(runs))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
