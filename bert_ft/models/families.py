"""One row per family: all differences between the encoders that can be fine-tuned, by transformers' model type.

A family runs packed if its attention goes through transformers' attention interface, its positions can be given as
``position_ids``, no part of it mixes neighboring tokens, and the equality test over lengths passes for it. Every other
family runs padded; one that isn't in the table only if padding doesn't change its result (see ``padding_check``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from transformers import PretrainedConfig

from bert_ft.models import family_heads as heads
from bert_ft.models.family_heads import Tail
from bert_ft.optim.layers import GENERAL, LayerNames


@dataclass(frozen=True)
class SubBlockNames:
    """Names in a layer of the modules whose outputs are monitored; ``()`` if there is none, else the first found counts."""

    attention: tuple[str, ...] = ("attention.output.dense",)
    activation: tuple[str, ...] = ("intermediate",)
    ffn: tuple[str, ...] = ("output.dense",)
    hidden: tuple[str, ...] = ("",)  # the layer itself


_BERT_LAYERS, _BERT_SUB_BLOCKS = LayerNames(), SubBlockNames()


@dataclass(frozen=True)
class Family:
    """A row of the table.

    Attributes:
        packed: runs on packed tokens; else on padded batches.
        has_bert_layers: its layers are BERT's own: the last can be computed for first tokens only, and the output of
            frozen ones can be cached.
        ort_attention: ONNX Runtime has its attention as an operator.
        layers: which layer each parameter belongs to.
        shares_layers: all layers have the same weights.
        sub_blocks: the monitored modules within a layer.
        counts_from_padding: positions begin after the padding id, as RoBERTa's do.
        token_types: takes ``token_type_ids``, and zeros are the same as none; ``None``: depends on its code.
        hidden_dropout: configuration keys of the rate on hidden states; the first that exists counts.
        attention_dropout: configuration keys of the rate on attention weights.
        head_dropout: configuration key of the rate before the last layer of its classification head; ``None`` if that
            is the rate on hidden states.
        classify: its classification head; ``None`` if ``model=bert_linear`` isn't supported.
        predict_tokens: its masked-LM head; ``None`` if there is none.
        first_attends_to_all: the first token attends to all, and all to it; others attend to their neighbors.
        fixed: configuration keys that are set, whatever the checkpoint has.
        notice: a note for the user when a run starts.
        is_checked: whether padding changes the result depends on the checkpoint, so it is checked each time.
        trains_in_half: trains in 16 bits.
        exports: can be written as ONNX.
        grows: its token embedding can have rows added.
    """

    packed: bool = False
    has_bert_layers: bool = False
    ort_attention: bool = False
    layers: LayerNames = _BERT_LAYERS
    shares_layers: bool = False
    sub_blocks: SubBlockNames = _BERT_SUB_BLOCKS
    counts_from_padding: bool = False
    token_types: bool | None = True
    hidden_dropout: tuple[str, ...] = ("hidden_dropout_prob",)
    attention_dropout: tuple[str, ...] = ("attention_probs_dropout_prob",)
    head_dropout: str | None = "classifier_dropout"
    classify: Tail | None = None
    predict_tokens: Tail | None = None
    first_attends_to_all: bool = False
    fixed: tuple[tuple[str, Any], ...] = ()
    notice: str | None = None
    is_checked: bool = False
    trains_in_half: bool = True
    exports: bool = True
    grows: bool = True


_BERT = Family(
    packed=True,
    has_bert_layers=True,
    ort_attention=True,
    classify=heads.pooler_in_encoder,
    predict_tokens=heads.masked_bert,
)
_PADDED_BERT = Family(classify=heads.pooler_in_encoder, predict_tokens=heads.masked_bert)
_PADDED_ROBERTA = Family(
    counts_from_padding=True, classify=heads.classification_head, predict_tokens=heads.masked_roberta
)
_ROBERTA = replace(_PADDED_ROBERTA, packed=True, has_bert_layers=True, ort_attention=True)
_LAYERS = LayerNames(layer=r"layers\.(\d+)\.")
_LLAMA_SUB_BLOCKS = SubBlockNames(("self_attn.o_proj",), ("mlp.act_fn",), ("mlp.down_proj",))
# no such module, or its output isn't one vector for each token
_NO_SUB_BLOCKS = SubBlockNames((), (), (), ())
_DEBERTA = Family(
    layers=LayerNames(
        embeddings=r"embeddings\.|encoder\.(rel_embeddings|LayerNorm)\.",  # every layer reads them
        first_layer=r"encoder\.conv\.",  # v2: added to the output of the first layer
    ),
    head_dropout="cls_dropout",
    classify=heads.deberta,
    predict_tokens=heads.masked_deberta,
)
_XLM = Family(
    layers=LayerNames(
        r"(embeddings|position_embeddings|lang_embeddings|layer_norm_emb)\.",
        r"(?:attentions|layer_norm1|ffns|layer_norm2)\.(\d+)\.",
    ),
    sub_blocks=_NO_SUB_BLOCKS,
    token_types=False,  # its code looks them up among the tokens
    hidden_dropout=("dropout",),
    attention_dropout=("attention_dropout",),
)

FAMILIES: dict[str, Family] = {
    "bert": _BERT,
    "ernie": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "electra": replace(
        _BERT,
        layers=LayerNames(embeddings=r"(embeddings|embeddings_project)\."),
        classify=heads.classification_head,
        predict_tokens=heads.masked_electra,
    ),
    "albert": replace(
        _BERT,
        has_bert_layers=False,
        layers=LayerNames(
            embeddings=r"embeddings\.|encoder\.embedding_hidden_mapping_in\.",
            layer=None,
            all_layers=r"encoder\.albert_layer_groups\.0\.",
        ),
        shares_layers=True,
        sub_blocks=SubBlockNames(("attention.dense",), ("activation",), ("ffn_output",)),
        head_dropout="classifier_dropout_prob",
        classify=heads.albert,
        predict_tokens=heads.masked_albert,
    ),
    "distilbert": Family(
        packed=True,
        ort_attention=True,
        layers=LayerNames(layer=r"transformer\.layer\.(\d+)\."),
        sub_blocks=SubBlockNames(("attention.out_lin",), ("ffn.activation",), ("ffn.lin2",)),
        token_types=False,
        hidden_dropout=("dropout",),
        attention_dropout=("attention_dropout",),
        head_dropout="seq_classif_dropout",
        classify=heads.distilbert,
        predict_tokens=heads.masked_distilbert,
    ),
    "modernbert": Family(
        packed=True,
        layers=LayerNames(layer=r"layers\.(\d+)\.", final_norm=r"final_norm\."),
        sub_blocks=SubBlockNames(("attn.Wo",), ("mlp.act",), ("mlp.Wo",)),
        token_types=False,
        hidden_dropout=("mlp_dropout",),
        attention_dropout=("attention_dropout",),
        classify=heads.modernbert,
        predict_tokens=heads.masked_modernbert,
    ),
    "big_bird": replace(
        _PADDED_ROBERTA,
        counts_from_padding=False,
        predict_tokens=heads.masked_bert,
        fixed=(("attention_type", "original_full"),),
        notice="attends from every token to every other (attention_type=original_full), since its sparse attention would run only in batches with a long text",
    ),
    "data2vec-text": _PADDED_ROBERTA,
    "deberta": _DEBERTA,
    "deberta-v2": _DEBERTA,  # v3 has the model type of v2
    "eurobert": Family(
        layers=LayerNames(r"embed_tokens\.", r"layers\.(\d+)\.", final_norm=r"norm\."),
        sub_blocks=_LLAMA_SUB_BLOCKS,
        token_types=False,
        hidden_dropout=(),
        attention_dropout=("attention_dropout",),
        predict_tokens=heads.masked_roberta,
    ),
    "flaubert": _XLM,
    "gte": replace(
        _PADDED_BERT, layers=_LAYERS, sub_blocks=_LLAMA_SUB_BLOCKS, predict_tokens=heads.masked_roberta
    ),
    "ibert": replace(_PADDED_ROBERTA, head_dropout=None, grows=False),
    "jina_embeddings_v3": replace(
        _PADDED_ROBERTA,
        layers=_LAYERS,
        sub_blocks=SubBlockNames(("self_attn.o_proj",), ("mlp.activation_fn",), ("mlp.fc2",)),
        counts_from_padding=False,
    ),
    "layoutlm": replace(_PADDED_BERT, head_dropout=None),
    "longformer": replace(
        _PADDED_ROBERTA,
        sub_blocks=_NO_SUB_BLOCKS,
        first_attends_to_all=True,
        head_dropout=None,
        exports=False,
    ),
    "luke": replace(
        _PADDED_BERT,
        layers=LayerNames(r"embeddings\.|entity_embeddings\."),  # the second: unused without entities
        counts_from_padding=True,
        predict_tokens=heads.masked_roberta,
    ),
    "megatron-bert": replace(_PADDED_BERT, layers=LayerNames(final_norm=r"encoder\.ln\."), head_dropout=None),
    # its embeddings join neighbors, and after the last token that is nothing or the padding's vector: whether these are
    # the same depends on the checkpoint
    "mobilebert": replace(_PADDED_BERT, is_checked=True),
    "mpnet": replace(
        _PADDED_ROBERTA,
        layers=LayerNames(r"embeddings\.|encoder\.relative_attention_bias\."),  # every layer reads it
        sub_blocks=SubBlockNames(attention=("attention.attn.o",)),
        token_types=False,
        head_dropout=None,
    ),
    "nomic_bert": replace(_PADDED_BERT, layers=_LAYERS, sub_blocks=_LLAMA_SUB_BLOCKS),
    "rembert": replace(
        _PADDED_BERT,
        layers=LayerNames(r"embeddings\.|encoder\.embedding_hidden_mapping_in\."),
        head_dropout="classifier_dropout_prob",
    ),
    "roberta-prelayernorm": replace(_PADDED_ROBERTA, layers=LayerNames(final_norm=r"LayerNorm\.")),
    "roformer": replace(
        _PADDED_ROBERTA,
        layers=LayerNames(r"embeddings\.|encoder\.embed_positions\."),
        counts_from_padding=False,
        predict_tokens=heads.masked_bert,
        head_dropout=None,
    ),
    "squeezebert": replace(
        _PADDED_BERT,
        layers=LayerNames(layer=r"encoder\.layers\.(\d+)\."),
        sub_blocks=_NO_SUB_BLOCKS,
        head_dropout=None,
    ),
    "xlm": _XLM,
    "xlm-roberta-xl": replace(_PADDED_ROBERTA, layers=LayerNames(final_norm=r"encoder\.LayerNorm\.")),
    "xlnet": Family(
        layers=LayerNames(r"word_embedding\.|mask_emb", r"layer\.(\d+)\."),
        sub_blocks=_NO_SUB_BLOCKS,
        hidden_dropout=("dropout",),
        attention_dropout=(),
        exports=False,
    ),
    # is_checked: it needs a default language; 16 bits: it writes float32 into a tensor of 16 bits
    "xmod": replace(_PADDED_ROBERTA, is_checked=True, trains_in_half=False),
}

# a family that isn't in the table: it may have the names of one that is
UNKNOWN = Family(
    layers=GENERAL,
    sub_blocks=SubBlockNames(
        ("attention.output.dense", "attention.out_lin", "attn.Wo", "attention.dense", "attention.attn.o"),
        activation=("intermediate", "ffn.activation", "mlp.act", "activation"),
        ffn=("output.dense", "ffn.lin2", "mlp.Wo", "ffn_output"),
    ),
    token_types=None,
    hidden_dropout=("hidden_dropout_prob", "dropout", "mlp_dropout"),
    attention_dropout=("attention_probs_dropout_prob", "attention_dropout"),
)


def family_of(config: PretrainedConfig) -> Family:
    """Return the row of the encoder's family; ``UNKNOWN`` if it isn't in the table."""
    return FAMILIES.get(config.model_type, UNKNOWN)


def model_types(attribute: str) -> str:
    """Return the families whose rows have ``attribute``, for messages."""
    return ", ".join(sorted(name for name, family in FAMILIES.items() if getattr(family, attribute)))
