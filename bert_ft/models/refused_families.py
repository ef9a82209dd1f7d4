"""Families that transformers can load and that are refused by name, with the reason and what to do."""

from __future__ import annotations

from transformers import PretrainedConfig
from transformers.models.auto import modeling_auto

from bert_ft.errors import ConfigError
from bert_ft.models.families import FAMILIES

_OTHER_ENCODERS = "use another encoder, such as BERT, RoBERTa, DeBERTa or ModernBERT"
_DECODER = (
    "reads from left to right, so only the last token has seen the whole text, and nothing here pools the last token; "
    + _OTHER_ENCODERS
)
_ENCODER_DECODER = (
    f"is an encoder with a decoder, and nothing here runs its encoder separately; {_OTHER_ENCODERS}"
)
_READS_PADDING = (
    "mixes the padding of a batch into its texts, so a prediction would depend on the other texts of the batch; "
    + _OTHER_ENCODERS
)
_READS_MORE = "reads more than the tokens of a text (%s), which isn't supported; " + _OTHER_ENCODERS

_OTHERS: dict[str, str] = {
    # FNet transforms all positions, padding included; the others convolve, or sum segments of the padded length
    **dict.fromkeys(("convbert", "fnet", "nystromformer", "yoso"), _READS_PADDING),
    "canine": f"reads characters with its own tokenizer, which has no fast version; {_OTHER_ENCODERS}",
    "funnel": f"pools neighboring tokens between its layers, the padding among them; {_OTHER_ENCODERS}",
    "layoutlmv2": _READS_MORE % "images and places on a page",
    "layoutlmv3": _READS_MORE % "images and places on a page",
    "markuplm": _READS_MORE % "the paths of HTML elements",
    "modernvbert": _READS_MORE % "images",
    "mra": f"runs only on a GPU: elsewhere transformers returns zeros for its attention; {_OTHER_ENCODERS}",
    "neomme": _READS_MORE % "images",
    "perceiver": f"has states of its own latent vectors instead of tokens; {_OTHER_ENCODERS}",
    "reformer": f"hashes tokens into buckets of the padded length; {_OTHER_ENCODERS}",
    "roc_bert": _READS_MORE % "shapes and pronunciations of characters",
    "tapas": _READS_MORE % "the rows and columns of a table",
    "ultravbert": _READS_MORE % "images",
}


def _refused() -> dict[str, str]:
    """Return model type → reason: those above, and all decoders and encoder-decoders that transformers lists for classification."""
    both = set(modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES)
    decoders = {*modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, "mistral4"} - both  # not listed for that
    decoders -= set(modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES)
    listed = set(modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES) - {*FAMILIES, *_OTHERS}
    reasons = {_DECODER: listed & decoders, _ENCODER_DECODER: listed & both}
    return {name: reason for reason, names in reasons.items() for name in sorted(names)} | _OTHERS


REFUSED = _refused()


def check_family(config: PretrainedConfig, name: str) -> None:
    """Raise ``ConfigError`` if the family of the encoder that the user calls ``name`` can't be fine-tuned here."""
    who = f"encoder.name_or_path={name}: model type {config.model_type!r}"
    if config.model_type in REFUSED:
        raise ConfigError(f"{who} {REFUSED[config.model_type]}")
    lacking = [key for key in ("num_hidden_layers", "hidden_size", "vocab_size") if not hasattr(config, key)]
    if lacking:
        raise ConfigError(
            f"{who} isn't a text encoder: its configuration has no {' and no '.join(lacking)}; {_OTHER_ENCODERS}"
        )
