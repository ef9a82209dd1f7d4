"""The command ``bert_ft``: its verbs, and the module that runs each of them."""

from __future__ import annotations

import os
import runpy
import sys
from difflib import get_close_matches
from typing import NamedTuple

import bert_ft
from bert_ft.signals import end_if_unread, end_quietly_on_interrupt


class Verb(NamedTuple):
    """A verb's module, which has ``if __name__ == "__main__"``, and what it does in one line."""

    module: str
    does: str


VERBS = {
    "train": Verb("bert_ft.train", "fine-tune an encoder on labeled text, or search its settings"),
    "pretrain": Verb("bert_ft.pretrain", "adapt an encoder to texts, labeled or not"),
    "evaluate": Verb("bert_ft.evaluate", "measure a saved model, or compare two, on a labeled file"),
    "predict": Verb("bert_ft.predict", "label the rows of a file with a saved model"),
    "export": Verb("bert_ft.export", "write a saved model as one ONNX file"),
    "report": Verb("bert_ft.report", "draw what a run or a search logged, as one page"),
    "doctor": Verb("bert_ft.doctor", "say what is installed and used here, and try a tiny training"),
}
_COMPLETION = "bert_ft.config.completion"
# words that are tried as verbs → what to type
_OTHERS = {
    "search": "bert_ft train --multirun hydra/sweeper=optuna",
    "resume": "bert_ft train resume_from=RUN",
}


def main() -> None:
    """Run the verb in ``sys.argv`` as ``python -m bert_ft.<verb>`` does; nothing heavy is loaded before."""
    end_quietly_on_interrupt()
    try:
        _run()
        sys.stdout.flush()
    except BrokenPipeError as error:
        end_if_unread(error)


def _run() -> None:
    verb, *rest = sys.argv[1:] or [""]
    if verb == "help" and rest:
        verb, rest = rest[0], ["--help", *rest[1:]]
    if verb in ("-h", "--help", "help", ""):
        print(overview(), flush=True)
        sys.exit(0 if verb else 2)
    if verb == "--version":
        print(f"bert_ft {bert_ft.__version__}")
        return
    module = _COMPLETION if verb in ("-sc", "--shell-completion") else _module_of(verb)
    if not sys.flags.safe_path and (folder := os.getcwd()) not in sys.path:
        sys.path.insert(0, folder)  # as `python -m` does: the user's own classes may be there
    sys.argv[1:] = rest
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def overview() -> str:
    """Return the help text of ``bert_ft`` itself."""
    width = max(map(len, VERBS))
    return "\n".join(
        [
            "Train text classifiers from BERT-like encoders.",
            "",
            "Usage: bert_ft VERB [group=choice] [key=value] ...",
            "",
            *(f"  {name:{width}}  {verb.does}" for name, verb in VERBS.items()),
            "",
            "bert_ft VERB --help explains every key, with a word only those about it.",
            "`python -m bert_ft.VERB` is the same as `bert_ft VERB`.",
        ]
    )


def _module_of(verb: str) -> str:
    if verb in VERBS:
        return VERBS[verb].module
    close = get_close_matches(verb, (*VERBS, "--help", "--version"), n=1)
    if verb in _OTHERS:
        hint = f"type {_OTHERS[verb]}"
    elif "=" in verb:
        hint = f"a verb comes first, e.g. bert_ft train {verb}"
    else:
        hint = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(VERBS)}"
    print(f"bert_ft {verb}: there is no such verb; {hint}", file=sys.stderr)
    sys.exit(2)
