"""Parameter name -> depth, for every encoder family whose layers can get their own lr."""

import re

from bert_ft.errors import ConfigError

_HEAD = ("head.", "pooling.")
_ENCODER = "encoder."

# what follows is matched against the names inside the Hugging Face base model
_EMBEDDINGS = re.compile(
    r"embeddings\."
    r"|embeddings_project\."  # ELECTRA
    r"|encoder\.embedding_hidden_mapping_in\."  # ALBERT
    r"|encoder\.(rel_embeddings|LayerNorm)\."  # DeBERTa: every layer reads them
    r"|encoder\.relative_attention_bias\."  # MPNet: every layer reads it
)
_LAYER = re.compile(r"(?:encoder\.layer|transformer\.layer|layers)\.(\d+)\.")
_FIRST_LAYER = re.compile(r"encoder\.conv\.")  # DeBERTa v2
_SHARED_LAYER = re.compile(r"encoder\.albert_layer_groups\.0\.")
_TOP = re.compile(r"(pooler|final_norm)\.")
TRAINED_TOP = ("encoder.final_norm.",)  # above the layers, and no less trained than they are


def layer_of(name: str, num_layers: int) -> int:
    """Depth of the parameter ``name``: 0 = embeddings, 1..num_layers = layers, num_layers + 1 = head.

    Names are those of our classifier: ``encoder.`` + the name inside the Hugging Face base model,
    ``head.*`` and ``pooling.*``. Known are BERT, RoBERTa, XLM-R, ELECTRA, DistilBERT, DeBERTa v1 and
    v2, ModernBERT, ALBERT, MPNet and whatever else is named like them. Where a parameter serves
    more than one layer:

    - DeBERTa's ``rel_embeddings`` with their ``encoder.LayerNorm``, and MPNet's
      ``relative_attention_bias``, are read by every layer: embeddings.
    - DeBERTa v2's ``encoder.conv`` is added to the output of the first layer: depth 1.
    - ALBERT's shared layer gets the depth of the highest layer that it stands for: ``num_layers``.
    - The encoder's own pooler and ModernBERT's ``final_norm`` come after the last layer: head.

    Raises:
        ConfigError: no rule covers the name, so that nothing falls silently to the head's lr. That
            includes ALBERT with several layer groups, whose depths the name alone doesn't tell.
    """
    if name.startswith(_HEAD):
        return num_layers + 1
    if not name.startswith(_ENCODER):
        raise ConfigError(
            f"no depth known for parameter {name!r}: it is outside encoder., head. and pooling."
        )
    inner = name.removeprefix(_ENCODER)
    if _EMBEDDINGS.match(inner):
        return 0
    if _FIRST_LAYER.match(inner):
        return 1
    if _SHARED_LAYER.match(inner):
        return num_layers
    if _TOP.match(inner):
        return num_layers + 1
    layer = _LAYER.match(inner)
    if layer is None:
        raise ConfigError(
            f"no depth known for encoder parameter {name!r}: use an encoder named like BERT, RoBERTa, ELECTRA, "
            "DistilBERT, DeBERTa, ModernBERT, ALBERT (one layer group) or MPNet, "
            "or add its names to bert_ft/optim/layers.py"
        )
    index = int(layer.group(1))
    if index >= num_layers:
        raise ConfigError(f"encoder parameter {name!r} is of layer {index}, but num_layers={num_layers}")
    return index + 1
