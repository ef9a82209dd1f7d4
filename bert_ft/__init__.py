"""Fine-tune BERT-like encoders, inspect them, and search for their best settings.

What ``__all__`` names is promised to stay; everything else may change. Each name is loaded when it is first used, so that
``import bert_ft`` takes a moment.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bert_ft.garbage import without_collections

if TYPE_CHECKING:
    from bert_ft import callbacks
    from bert_ft.api.classifier import Classifier
    from bert_ft.api.fine_tuning import Run, fine_tune
    from bert_ft.api.searching import run_search
    from bert_ft.inference.model import Model, load
    from bert_ft.training.data_module import TextDataModule
    from bert_ft.training.module import ClassificationModule

__version__ = "0.1.0"

__all__ = [
    "ClassificationModule",
    "Classifier",
    "Model",
    "Run",
    "TextDataModule",
    "callbacks",
    "fine_tune",
    "load",
    "run_search",
]

_MODULES = {
    "ClassificationModule": "bert_ft.training.module",
    "Classifier": "bert_ft.api.classifier",
    "Model": "bert_ft.inference.model",
    "Run": "bert_ft.api.fine_tuning",
    "TextDataModule": "bert_ft.training.data_module",
    "fine_tune": "bert_ft.api.fine_tuning",
    "load": "bert_ft.inference.model",
    "run_search": "bert_ft.api.searching",
}


def __getattr__(name: str) -> Any:
    if name == "callbacks":
        return import_module("bert_ft.callbacks")
    if name not in _MODULES:
        raise AttributeError(f"module 'bert_ft' has no attribute {name!r}; it has {', '.join(__all__)}")
    with without_collections():
        found = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
