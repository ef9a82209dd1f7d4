"""``python claiming.py URL PROCESSES TRIALS``: many processes share the trials of a study; prints the numbers that each process ended."""

import json
import multiprocessing
import sys

import optuna

from bert_ft.compat.optuna import trial_id
from bert_ft.search.study.storage import close, open_storage
from bert_ft.search.study.trial_queue import TrialQueue

NAME = "shared"


def work(url: str, n_trials: int, results) -> None:
    storage = open_storage(url)
    study = optuna.load_study(study_name=NAME, storage=storage, sampler=optuna.samplers.RandomSampler())
    queue = TrialQueue(
        study, storage, n_trials=n_trials, retry=3, draw=lambda trial: trial.suggest_float("x", 0, 1)
    )
    ended = []
    while (trial := queue.next()) is not None:
        trial.report(trial.params["x"], step=1)
        queue.complete(storage.get_trial(trial_id(trial)), [trial.params["x"]])
        ended.append(trial.number)
    close(storage)
    results.put(ended)


def main(url: str, num_processes: int, n_trials: int) -> None:
    storage = open_storage(url, create=True)
    optuna.create_study(study_name=NAME, storage=storage, load_if_exists=True)
    close(storage)
    fork = multiprocessing.get_context("fork")
    results = fork.Queue()
    processes = [fork.Process(target=work, args=(url, n_trials, results)) for _ in range(num_processes)]
    for process in processes:
        process.start()
    ended = [results.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    print(json.dumps(ended))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
