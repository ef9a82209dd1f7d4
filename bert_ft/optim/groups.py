"""Parameter groups with layer-wise lr decay.

Source: Howard and Ruder 2018, arXiv 1801.06146 (discriminative fine-tuning); Clark et al. 2020,
arXiv 2003.10555 (one factor per layer). As there, the head is undecayed and embeddings are lowest.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from bert_ft.errors import ConfigError
from bert_ft.limits import NotNegative, Positive, PositiveRatio, within_limits
from bert_ft.optim.layers import GENERAL, LayerNames, is_final_norm, layer_of


@dataclass(frozen=True)
class GroupRow:
    """One line of the table of groups; ``num_parameters`` counts scalars."""

    layer: str
    num_parameters: int
    lr: float
    weight_decay: float


@within_limits("optimizer")
def parameter_groups(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    num_layers: int,
    lr: Positive,
    layer_decay: PositiveRatio,
    weight_decay: NotNegative,
    head_lr: Positive | None = None,
    trained: Sequence[str] = (),
    names: LayerNames | None = GENERAL,
) -> list[dict[str, Any]]:
    """Groups for a torch optimizer, from the embeddings up: each trainable parameter in exactly one.

    A group has ``params``, ``name``, ``weight_decay`` and its real ``lr``, which is
    ``lr * layer_decay ** (num_layers + 1 - depth)``; a scale for a scheduler to apply would be
    ignored by every scheduler that doesn't know of it. Groups are named ``embeddings``,
    ``layer.0`` (the lowest, as in the encoder's own names), ``head`` and ``head/trained`` (what stands above
    the layers and comes trained, such as a final norm). Where the names of an encoder's layers aren't known, all of it
    is one group, ``encoder``.

    Parameters with at most one dimension, which are the biases and the weights of norms, are not
    decayed and stand in a group of their own beside their layer's, e.g. ``layer.0/no_decay``.
    A parameter that is shared under several names counts under the first.

    Args:
        named_parameters: as ``layer_of`` knows them; frozen ones are left out.
        num_layers: of the encoder.
        lr: of the head, where ``head_lr`` is ``None``, and what the layers' lr decay from.
        layer_decay: 1 gives every layer the same lr.
        weight_decay: of everything that is decayed.
        head_lr: of the head, the pooling and the encoder's own pooler; ``None`` = ``lr``.
        trained: how the names of parameters begin that stand in the head, but come from the checkpoint: they learn at
            ``lr``, as the encoder's own final norm does.
        names: of the encoder's layers; ``None`` where they aren't known.

    Raises:
        ConfigError: a value is out of range, or a name unknown (see ``layer_of``).
    """
    if names is None and layer_decay < 1:
        raise ConfigError(
            f"optimizer.layer_decay={layer_decay}: the names of this encoder's layers aren't known; set it to 1"
        )
    head_depth = num_layers + 1
    groups = []
    for (depth, is_fresh, decayed), params in sorted(
        _by_depth(named_parameters, num_layers, tuple(trained), names).items(), key=_order
    ):
        groups.append(
            {
                "name": _layer_name(depth, head_depth, is_fresh, names) + ("" if decayed else "/no_decay"),
                "params": params,
                "lr": head_lr
                if is_fresh and head_lr is not None
                else lr * layer_decay ** (head_depth - depth),
                "weight_decay": weight_decay if decayed else 0.0,
            }
        )
    return groups


def group_table(groups: Sequence[dict[str, Any]]) -> list[GroupRow]:
    """What each group holds and how fast it learns, in the order of the groups."""
    return [
        GroupRow(
            group["name"], sum(param.numel() for param in group["params"]), group["lr"], group["weight_decay"]
        )
        for group in groups
    ]


def _by_depth(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    num_layers: int,
    trained: tuple[str, ...],
    names: LayerNames | None,
) -> dict[tuple[int, bool, bool], list[nn.Parameter]]:
    """Trainable parameters by (depth, whether they are the head's and fresh, whether they are decayed)."""
    seen: set[int] = set()
    by_depth: dict[tuple[int, bool, bool], list[nn.Parameter]] = {}
    for name, param in named_parameters:
        if not param.requires_grad or id(param) in seen:
            continue
        seen.add(id(param))
        depth = layer_of(name, num_layers, names)
        is_fresh = depth > num_layers and not name.startswith(trained) and not is_final_norm(name, names)
        by_depth.setdefault((depth, is_fresh, param.ndim > 1), []).append(param)
    return by_depth


def _order(item: tuple[tuple[int, bool, bool], list[nn.Parameter]]) -> tuple[int, bool, bool]:
    (depth, is_fresh, decayed), _ = item
    return depth, is_fresh, not decayed


def _layer_name(depth: int, head_depth: int, is_fresh: bool, names: LayerNames | None) -> str:
    if names is None and depth < head_depth:
        return "encoder"
    if depth == 0:
        return "embeddings"
    if depth == head_depth:
        return "head" if is_fresh else "head/trained"
    return f"layer.{depth - 1}"
