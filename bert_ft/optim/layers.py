"""Parameter name → depth, for every encoder family whose layers can have their own lr."""

import re
from dataclasses import dataclass

from bert_ft.errors import ConfigError

_HEAD = ("head.", "pooling.", "window_pooling.")
_ENCODER = "encoder."
_POOLER = re.compile(r"pooler\.")


@dataclass(frozen=True)
class LayerNames:
    """How a family names its parameters: regular expressions for the start of a name inside the Hugging Face base model.

    Attributes:
        embeddings: parameters below the layers or read by every layer: depth 0.
        layer: parameters of one layer; the pattern's group captures its number. ``None`` if the names contain none.
        first_layer: parameters of the first layer without its number.
        all_layers: parameters shared by all layers; they get the depth of the highest.
        final_norm: pre-trained parameters after the last layer.
    """

    embeddings: str = r"embeddings\."
    layer: str | None = r"encoder\.layer\.(\d+)\."
    first_layer: str | None = None
    all_layers: str | None = None
    final_norm: str | None = None


# for encoders of any family
GENERAL = LayerNames(
    embeddings=r"embeddings\."
    r"|embeddings_project\."  # ELECTRA
    r"|encoder\.embedding_hidden_mapping_in\."  # ALBERT
    r"|encoder\.(rel_embeddings|LayerNorm)\."  # DeBERTa: every layer reads them
    r"|encoder\.relative_attention_bias\.",  # MPNet: every layer reads it
    layer=r"(?:encoder\.layer|transformer\.layer|layers)\.(\d+)\.",
    first_layer=r"encoder\.conv\.",  # DeBERTa v2
    all_layers=r"encoder\.albert_layer_groups\.0\.",
    final_norm=r"final_norm\.",
)


def layer_of(name: str, num_layers: int, names: LayerNames | None = GENERAL) -> int:
    """Return the depth of the parameter ``name``: 0 = embeddings, 1..num_layers = layers, num_layers + 1 = head.

    Names are those of our classifier: ``encoder.`` + the name inside the Hugging Face base model, ``head.*`` and
    ``pooling.*`` or ``window_pooling.*``. Without ``names`` of the family, all of the encoder has depth ``num_layers``. Special cases:

    - DeBERTa's ``rel_embeddings`` with their ``encoder.LayerNorm``, and MPNet's ``relative_attention_bias``, are read by
      every layer: embeddings.
    - DeBERTa v2's ``encoder.conv`` is added to the output of the first layer: depth 1.
    - ALBERT's shared layer gets the depth of the highest layer: ``num_layers``.
    - The encoder's own pooler and ModernBERT's ``final_norm`` come after the last layer: head.

    Raises:
        ConfigError: no rule covers the name. That includes ALBERT with several layer groups, whose names don't determine
            their depths.
    """
    if name.startswith(_HEAD):
        return num_layers + 1
    if not name.startswith(_ENCODER):
        raise ConfigError(
            f"no depth known for parameter {name!r}: it is outside encoder., head. and pooling."
        )
    if names is None:
        return num_layers
    inner = name.removeprefix(_ENCODER)
    if _matches(names.embeddings, inner):
        return 0
    if _matches(names.first_layer, inner):
        return 1
    if _matches(names.all_layers, inner):
        return num_layers
    if _POOLER.match(inner) or _matches(names.final_norm, inner):
        return num_layers + 1
    layer = re.match(names.layer, inner) if names.layer else None
    if layer is None:
        raise ConfigError(
            f"no depth known for encoder parameter {name!r}: use an encoder named like BERT, RoBERTa, ELECTRA, "
            "DistilBERT, DeBERTa, ModernBERT, ALBERT (one layer group) or MPNet, or set optimizer.layer_decay=1"
        )
    index = int(layer.group(1))
    if index >= num_layers:
        raise ConfigError(f"encoder parameter {name!r} belongs to layer {index}, but num_layers={num_layers}")
    return index + 1


def is_final_norm(name: str, names: LayerNames | None) -> bool:
    """Return whether the parameter ``name`` is pre-trained and above the layers."""
    return (
        names is not None
        and name.startswith(_ENCODER)
        and _matches(names.final_norm, name.removeprefix(_ENCODER))
    )


def _matches(pattern: str | None, name: str) -> bool:
    return pattern is not None and re.match(pattern, name) is not None
