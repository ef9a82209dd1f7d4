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


def page(cpu: Results, gpu: Results, datasets: Sequence[str], development: Sequence[str]) -> str:
    """Markdown: accuracy and macro-F1 of the recipes, and what each technique changed on the development rows.

    Scores are a CPU's where there are both; seconds are a CPU's alone.
    """
    results = _merged(cpu, gpu)
    recipes = [recipe for recipe in NAMES if recipe in results]
    on_gpu = sum(1 for keys in _keys(gpu) if keys not in set(_keys(cpu)))
    parts = [
        "# Accuracy of whole recipes\n\n"
        "Written by `python -m benchmarks.recipes`, which says how each is trained; every job stands in "
        f"`recipes.json` or, {on_gpu} that ran on a GPU, in `recipes_cuda.json`. At most 1,000 training rows, texts cut at "
        "64 tokens, MiniLM in bf16. Mean ± standard deviation over seeds, each with rows of its own (their number in "
        "brackets where it isn't 5). The mean over the data sets is taken for each seed first. Seconds are processor time "
        "of the whole command on a CPU, the mean over the data sets; other work ran on the machine meanwhile.",
        "## Accuracy, %\n\n" + "\n".join(_recipes(results, cpu, recipes, datasets, "accuracy")),
        "## Macro-F1, %\n\n" + "\n".join(_recipes(results, cpu, recipes, datasets, "f1_macro")),
        "## Settings that were tried\n\n"
        "On rows that no table above has, about 2,000 to judge by: two runs that differ by less than 1.5 points can't "
        "be told apart. Each is one change to *base* (400 steps of 16, lr 1e-4, the last weights) or to *fast* (the same "
        "with lr 2e-4). Accuracy in %, one number for each seed, and processor seconds on a CPU.\n\n"
        + "\n".join(_variants(results, cpu, development)),
    ]
    return "\n\n".join(parts) + "\n"


def _keys(results: Results) -> Iterator[tuple[str, str, str]]:
    for recipe, found in results.items():
        for dataset, by_seed in found.items():
            yield from ((recipe, dataset, seed) for seed in by_seed)


def _merged(first: Results, second: Results) -> Results:
    merged: Results = {}
    for results in (second, first):
        for recipe, dataset, seed in _keys(results):
            merged.setdefault(recipe, {}).setdefault(dataset, {})[seed] = results[recipe][dataset][seed]
    return merged


def _recipes(
    results: Results, cpu: Results, recipes: Sequence[str], datasets: Sequence[str], key: str
) -> Iterator[str]:
    yield _row(["recipe", *datasets, "mean", "seconds"])
    yield _row(["---"] * (len(datasets) + 3))
    for recipe in recipes:
        by_seed = {
            name: {seed: 100 * one[key] for seed, one in results[recipe].get(name, {}).items()}
            for name in datasets
        }
        common = set.intersection(*(set(values) for values in by_seed.values()))
        means = [mean(values[seed] for values in by_seed.values()) for seed in sorted(common)]
        yield _row(
            [
                NAMES[recipe],
                *(_spread(list(values.values())) for values in by_seed.values()),
                _spread(means, digits=2),
                _seconds(cpu, recipe, datasets),
            ]
        )


def _seconds(cpu: Results, recipe: str, datasets: Sequence[str]) -> str:
    """The mean over the data sets, if all were measured."""
    by_dataset = [cpu.get(recipe, {}).get(name, {}) for name in datasets]
    if not all(by_dataset):
        return ""
    return f"{mean(mean(one['seconds'] for one in runs.values() if 'seconds' in one) for runs in by_dataset):.0f}"


def _variants(results: Results, cpu: Results, development: Sequence[str]) -> Iterator[str]:
    yield _row(["setting", *development, "seconds"])
    yield _row(["---"] * (len(development) + 2))
    for recipe, found in sorted(results.items()):
        tried = [name for name in development if name in found]
        if tried:
            cells = [_each(found.get(name, {})) for name in development]
            yield _row([recipe, *cells, _seconds(cpu, recipe, tried)])


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
