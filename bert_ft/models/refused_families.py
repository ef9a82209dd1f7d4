"""Families that transformers can load and that are refused by name, each with its reason and what to do."""

from __future__ import annotations

from transformers import PretrainedConfig

from bert_ft.errors import ConfigError

_OTHER_ENCODERS = "use another encoder, such as BERT, RoBERTa, DeBERTa or ModernBERT"
_DECODER = (
    "reads from left to right, so that no token but the last has seen the whole text, and nothing here pools the last "
    f"token; {_OTHER_ENCODERS}"
)
_ENCODER_DECODER = (
    f"is an encoder with a decoder, and nothing here runs its encoder by itself; {_OTHER_ENCODERS}"
)
_READS_PADDING = (
    "mixes the padding of a batch into the texts, so that a prediction would depend on the other texts of its batch; "
    + _OTHER_ENCODERS
)
_READS_MORE = "reads more than the tokens of a text (%s), which isn't here; " + _OTHER_ENCODERS

_DECODERS = [
    "arcee",
    "axk1",
    "axk2",
    "biogpt",
    "bloom",
    "cohere_compass_text",
    "ctrl",
    "deepseek_v2",
    "deepseek_v3",
    "diffllama",
    "doge",
    "exaone4",
    "falcon",
    "gemma",
    "gemma2",
    "gemma3",
    "gemma3_text",
    "glm",
    "glm4",
    "gpt-sw3",
    "gpt2",
    "gpt_bigcode",
    "gpt_neo",
    "gpt_neox",
    "gpt_oss",
    "gptj",
    "helium",
    "hunyuan_v1_dense",
    "hunyuan_v1_moe",
    "jamba",
    "jetmoe",
    "llama",
    "minicpm3",
    "minimax",
    "ministral",
    "ministral3",
    "mistral",
    "mistral4",
    "mixtral",
    "modernbert-decoder",
    "mpt",
    "nemotron",
    "olmo",
    "olmo2",
    "olmo3",
    "openai-gpt",
    "opt",
    "persimmon",
    "phi",
    "phi3",
    "phimoe",
    "qwen2",
    "qwen2_moe",
    "qwen3",
    "qwen3_5",
    "qwen3_5_text",
    "qwen3_moe",
    "qwen3_next",
    "seed_oss",
    "smollm3",
    "stablelm",
    "starcoder2",
    "zamba",
    "zamba2",
]
_ENCODER_DECODERS = [
    "bart",
    "bigbird_pegasus",
    "mbart",
    "mt5",
    "mvp",
    "plbart",
    "t5",
    "t5gemma",
    "t5gemma2",
    "umt5",
]

REFUSED: dict[str, str] = {
    **dict.fromkeys(_DECODERS, _DECODER),
    **dict.fromkeys(_ENCODER_DECODERS, _ENCODER_DECODER),
    # FNet transforms all positions, padding included; the others convolve, or sum up segments of the padded length
    **dict.fromkeys(("convbert", "fnet", "nystromformer", "yoso"), _READS_PADDING),
    "canine": f"reads characters by a tokenizer of its own, which has no fast version; {_OTHER_ENCODERS}",
    "funnel": f"pools neighboring tokens between its layers, the padding among them; {_OTHER_ENCODERS}",
    "layoutlmv2": _READS_MORE % "images and places on a page",
    "layoutlmv3": _READS_MORE % "images and places on a page",
    "markuplm": _READS_MORE % "the paths of HTML elements",
    "modernvbert": _READS_MORE % "images",
    "mra": f"runs on a GPU alone: elsewhere transformers gives zeros for its attention; {_OTHER_ENCODERS}",
    "neomme": _READS_MORE % "images",
    "perceiver": f"has no state for each token, but for each of its own latent vectors; {_OTHER_ENCODERS}",
    "reformer": f"hashes tokens into buckets of the padded length; {_OTHER_ENCODERS}",
    "roc_bert": _READS_MORE % "shapes and pronunciations of characters",
    "tapas": _READS_MORE % "the rows and columns of a table",
    "ultravbert": _READS_MORE % "images",
}


def check_family(config: PretrainedConfig, name: str) -> None:
    """Refuse a family that can't be fine-tuned here.

    Args:
        config: of the encoder.
        name: what the user has given.

    Raises:
        ConfigError: with the reason.
    """
    if config.model_type in REFUSED:
        raise ConfigError(
            f"encoder.name_or_path={name}: model type {config.model_type!r} {REFUSED[config.model_type]}"
        )
    lacking = [key for key in ("num_hidden_layers", "hidden_size", "vocab_size") if not hasattr(config, key)]
    if lacking:
        raise ConfigError(
            f"encoder.name_or_path={name}: model type {config.model_type!r} is no encoder of texts: its configuration "
            f"has no {' and no '.join(lacking)}; {_OTHER_ENCODERS}"
        )
