"""Parameter groups with layer-wise lr decay.

Source: Howard and Ruder 2018, arXiv 1801.06146 (discriminative fine-tuning); Clark et al. 2020, arXiv 2003.10555 (one
factor per layer). As there, the head has the full lr and the embeddings have the lowest.
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
    """One row of the table of groups; ``num_parameters`` counts scalars."""

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
    """Return groups for a torch optimizer, from the embeddings up, with each trainable parameter in exactly one.

    A group has ``params``, ``name``, ``weight_decay`` and its actual ``lr``, ``lr * layer_decay ** (num_layers + 1 -
    depth)``; a scale for a scheduler to apply would be ignored by other schedulers. Groups are named ``embeddings``,
    ``layer.0`` (the lowest), ``head`` and ``head/trained`` (pre-trained parameters above the layers, such as a final
    norm). If the names of the encoder's layers aren't known, ``encoder`` holds them all.

    Parameters with at most one dimension (biases and weights of norms) aren't decayed and have their own groups, e.g.
    ``layer.0/no_decay``. A parameter shared under several names counts under the first.

    Args:
        named_parameters: names as in ``layer_of``; frozen parameters are left out.
        num_layers: number of the encoder's layers.
        lr: base of the layers' lr, and lr of the head if ``head_lr`` is ``None``.
        layer_decay: factor of the lr from one layer to the one below; 1 = every layer has the same lr.
        weight_decay: weight decay of the decayed parameters.
        head_lr: lr of the head, the pooling and the encoder's own pooler.
        trained: prefixes of parameter names in the head that come from the checkpoint, and learn at ``lr``.
        names: names of the encoder's layers; ``None`` if they aren't known.

    Raises:
        ConfigError: a value is out of range, or a name unknown (see ``layer_of``).
    """
    if names is None and layer_decay < 1:
        raise ConfigError(
            f"optimizer.layer_decay={layer_decay}: the names of this encoder's layers aren't known; set it to 1"
        )
    head_depth = num_layers + 1
    by_depth = _by_depth(named_parameters, num_layers, tuple(trained), names)
    groups = []
    for depth, is_fresh, undecayed in sorted(by_depth):
        layer_lr = lr * layer_decay ** (head_depth - depth)
        groups.append(
            {
                "name": _layer_name(depth, head_depth, is_fresh, names) + "/no_decay" * undecayed,
                "params": by_depth[depth, is_fresh, undecayed],
                "lr": head_lr if is_fresh and head_lr is not None else layer_lr,
                "weight_decay": 0.0 if undecayed else weight_decay,
            }
        )
    return groups


def group_table(groups: Sequence[dict[str, Any]]) -> list[GroupRow]:
    """Return size, lr and weight decay of each group."""
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
    """Return trainable parameters by depth, whether they are the head's and fresh, and whether they are undecayed."""
    seen: set[int] = set()
    by_depth: dict[tuple[int, bool, bool], list[nn.Parameter]] = {}
    for name, param in named_parameters:
        if not param.requires_grad or id(param) in seen:
            continue
        seen.add(id(param))
        depth = layer_of(name, num_layers, names)
        is_fresh = depth > num_layers and not name.startswith(trained) and not is_final_norm(name, names)
        by_depth.setdefault((depth, is_fresh, param.ndim <= 1), []).append(param)
    return by_depth


def _layer_name(depth: int, head_depth: int, is_fresh: bool, names: LayerNames | None) -> str:
    if names is None and depth < head_depth:
        return "encoder"
    if depth == 0:
        return "embeddings"
    if depth == head_depth:
        return "head" if is_fresh else "head/trained"
    return f"layer.{depth - 1}"
