"""One row a family: all that differs between the encoders that can be fine-tuned, by transformers' model type.

The rule for packing: a family runs packed when its attention goes through transformers' attention interface, its
positions can be given as ``position_ids``, no part of it mixes neighboring tokens, and the equality test over lengths
holds for it. Every other family runs padded, and one that isn't in the table only after a check that padding doesn't
change its result (see ``bert_ft.models.padding_check``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from transformers import PretrainedConfig

from bert_ft.models import family_heads as heads
from bert_ft.models.family_heads import Tail
from bert_ft.optim.layers import GENERAL, LayerNames


@dataclass(frozen=True)
class SubBlockNames:
    """Modules within a layer whose outputs are looked at, by their names in it; ``()`` where there is none.

    Of several names, the first that a layer has counts.
    """

    attention: tuple[str, ...] = ("attention.output.dense",)
    activation: tuple[str, ...] = ("intermediate",)
    ffn: tuple[str, ...] = ("output.dense",)


_BERT_LAYERS, _BERT_SUB_BLOCKS = LayerNames(), SubBlockNames()


@dataclass(frozen=True)
class Family:
    """A row of the table.

    Attributes:
        packed: runs on packed tokens; else on padded batches.
        has_bert_layers: its layers are BERT's own: the last can be computed for first tokens alone, and the output of
            the frozen ones can be kept.
        ort_attention: its attention is the one that ONNX Runtime has as an operator.
        layers: which layer each parameter belongs to.
        shares_layers: all layers have the same weights.
        sub_blocks: what monitors look at within a layer.
        counts_from_padding: positions begin behind the padding's id, as RoBERTa's do.
        token_types: takes ``token_type_ids``; ``None``: as the signature of its forward method says.
        hidden_dropout: configuration keys of the rate on hidden states; of several, the first that is there.
        attention_dropout: configuration keys of the rate on attention weights.
        head_dropout: configuration key of the rate before the last layer of its classification head.
        classify: the tail of its classification head; ``None`` where ``model=bert_linear`` isn't supported.
        predict_tokens: the tail of its masked-LM head; ``None`` where there is none.
        trains_in_half: trains in 16 bits.
        exports: can be written as ONNX.
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
    head_dropout: str = "classifier_dropout"
    classify: Tail | None = None
    predict_tokens: Tail | None = None
    trains_in_half: bool = True
    exports: bool = True


_BERT = Family(
    packed=True,
    has_bert_layers=True,
    ort_attention=True,
    classify=heads.pooler_in_encoder,
    predict_tokens=heads.masked_bert,
)
_ROBERTA = replace(
    _BERT,
    counts_from_padding=True,
    classify=heads.classification_head,
    predict_tokens=heads.masked_roberta,
)
_DEBERTA = Family(
    layers=LayerNames(
        embeddings=r"embeddings\.|encoder\.(rel_embeddings|LayerNorm)\.",  # every layer reads them
        first_layer=r"encoder\.conv\.",  # v2: added to the output of the first layer
    ),
    head_dropout="cls_dropout",
    classify=heads.deberta,
    predict_tokens=heads.masked_deberta,
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
    "data2vec-text": Family(counts_from_padding=True),
    "longformer": Family(counts_from_padding=True),
    "mpnet": Family(
        layers=LayerNames(
            embeddings=r"embeddings\.|encoder\.relative_attention_bias\."
        ),  # every layer reads it
        sub_blocks=SubBlockNames(attention=("attention.attn.o",)),
        counts_from_padding=True,
        token_types=False,
    ),
    "roberta-prelayernorm": Family(layers=LayerNames(final_norm=r"LayerNorm\."), counts_from_padding=True),
    "xlm-roberta-xl": Family(layers=LayerNames(final_norm=r"encoder\.LayerNorm\."), counts_from_padding=True),
    "deberta": _DEBERTA,
    "deberta-v2": _DEBERTA,  # v3 has the model type of v2
}

# what isn't in the table: its names are guessed from those that are
UNKNOWN = Family(
    layers=GENERAL,
    sub_blocks=SubBlockNames(
        attention=(
            "attention.output.dense",
            "attention.out_lin",
            "attn.Wo",
            "attention.dense",
            "attention.attn.o",
        ),
        activation=("intermediate", "ffn.activation", "mlp.act", "activation"),
        ffn=("output.dense", "ffn.lin2", "mlp.Wo", "ffn_output"),
    ),
    token_types=None,
    hidden_dropout=("hidden_dropout_prob", "dropout", "mlp_dropout"),
    attention_dropout=("attention_probs_dropout_prob", "attention_dropout"),
)


def family_of(config: PretrainedConfig) -> Family:
    """The row of the encoder's family; ``UNKNOWN`` for one that isn't in the table."""
    return FAMILIES.get(config.model_type, UNKNOWN)


def model_types(attribute: str) -> str:
    """The families whose rows have ``attribute``, as messages list them."""
    return ", ".join(sorted(name for name, family in FAMILIES.items() if getattr(family, attribute)))
