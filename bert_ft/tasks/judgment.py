"""Whether a row's prediction is right, and how sure the model is of it, for tasks that have both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bert_ft.errors import ConfigError
from bert_ft.tasks.confidence import JudgesConfidence
from bert_ft.tasks.multi_label import MultiLabel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bert_ft.tasks.task import Task


def confidence_of(task: Task, logits: NDArray[Any], key: str) -> NDArray[np.float64]:
    """Return the probability of each row's prediction, ``(rows,)``; of a set of labels, the product over all labels.

    Raises:
        ConfigError: a prediction of this task is neither right nor wrong; the message begins with ``key``.
    """
    import numpy as np

    if isinstance(task, MultiLabel):
        probabilities = _outputs(task, logits)
        return np.where(task.given(probabilities), probabilities, 1 - probabilities).prod(axis=1)
    if isinstance(task, JudgesConfidence):
        return _outputs(task, logits)[np.arange(len(logits)), _predicted(task, logits)]
    raise _neither(task, key)


def correct_rows(
    task: Task, logits: NDArray[Any], targets: NDArray[Any], key: str
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which rows count, ``(rows,)``, and which predictions are right; a set of labels is right as a whole.

    Rows whose votes have no majority don't count.

    Raises:
        ConfigError: see ``confidence_of``.
    """
    import numpy as np

    if isinstance(task, MultiLabel):
        right = (task.given(_outputs(task, logits)) == targets).all(axis=1)
        return np.ones(len(right), bool), right
    if isinstance(task, JudgesConfidence):
        classes = task.majority_targets(targets)
        return classes >= 0, _predicted(task, logits) == classes
    raise _neither(task, key)


def _outputs(task: Task, logits: NDArray[Any]) -> NDArray[np.float64]:
    """Return the probabilities that a file of predictions shows, in double precision."""
    import numpy as np
    import torch

    return task.outputs(torch.from_numpy(logits)).numpy().astype(np.float64)


def _predicted(task: JudgesConfidence, logits: NDArray[Any]) -> NDArray[np.int64]:
    import torch

    found: NDArray[np.int64] = task.predicted(torch.from_numpy(logits)).numpy()
    return found


def _neither(task: Task, key: str) -> ConfigError:
    return ConfigError(
        f"{key}: a prediction of task={task.name} is neither right nor wrong, so it has no precision; abstain.sets gives "
        "intervals of numbers"
    )
