"""Runs a case by its commands and gathers its results."""

from functools import partial
from pathlib import Path
from typing import Any

from tests.golden.cases import CASES, COMMON
from tests.golden.commands import run
from tests.golden.encoders import vocabulary, write_encoder
from tests.golden.results import predictions, run_results, trials, weights_digest
from tests.golden.texts import SPLITS, TOPICS, beginnings, write_new_texts, write_splits

MIN_COUNT = 2  # of a word, to be in the vocabulary of the tiny encoders


def run_case(name: str, folder: Path) -> dict[str, Any]:
    """Run a case in ``folder``, which must be empty, and return its results as they are recorded."""
    case = CASES[name]
    settings = _with_paths((*COMMON, *case.settings), folder)
    target = folder / "run"
    kind = "sweep" if case.is_search else "run"
    settings += [f"hydra.{kind}.dir={target}", f"data.cache_dir={folder / 'cache'}"]
    run(["-m", "bert_ft.train", *settings], folder)
    results: dict[str, Any]
    if case.is_search:
        results, best = _search_results(target, folder)
    else:
        results, best = run_results(target, folder), target
    if case.stage:
        results["stage"] = run_results(target / "pretraining", folder)
    results["weights"] = weights_digest(best / "model" / "model.safetensors")
    results["predictions"] = _predict(best / "model", folder)
    return results


def _search_results(folder: Path, root: Path) -> tuple[dict[str, Any], Path]:
    """Return the trials with the results of each, and the folder of the best one."""
    found = trials(folder)
    runs = {f"trial {trial['number']}": run_results(folder / str(trial["number"]), root) for trial in found}
    best = min(found, key=lambda trial: trial["values"])  # of val/loss
    return {"trials": found, **runs}, folder / str(best["number"])


def _predict(bundle: Path, folder: Path) -> list[tuple[str, float]]:
    source, target = write_new_texts(folder / "new.csv"), folder / "predicted.csv"
    run(
        [
            "-m",
            "bert_ft.predict",
            f"bundle={bundle}",
            f"input={source}",
            f"output={target}",
            "accelerator=cpu",
        ],
        folder,
    )
    return predictions(target)


def _with_paths(settings: tuple[str, ...], folder: Path) -> list[str]:
    """Return the settings with the paths of what they name, which is written into ``folder``."""
    writers = {"bert": partial(_tiny, folder, "bert"), "deberta-v2": partial(_tiny, folder, "deberta-v2")}
    paths = {name: write() for name, write in writers.items() if f"{{{name}}}" in " ".join(settings)}
    paths |= write_splits(folder)
    return [setting.format(**paths) for setting in settings]


def _tiny(folder: Path, kind: str) -> Path:
    texts = [text for topic in TOPICS for text in beginnings(topic, SPLITS["train"])]
    return write_encoder(folder / kind, kind, vocabulary(texts, MIN_COUNT))
