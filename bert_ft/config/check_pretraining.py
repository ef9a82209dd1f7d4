"""Check settings of the pre-training stage that depend on each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from omegaconf import DictConfig

from bert_ft.config.rules import STEP_MONITORS
from bert_ft.renamed_keys import override_key

# Keys of shared groups that only fine-tuning reads → what to use in `bert_ft.pretrain`, or what it does.
FINE_TUNING_ONLY = {
    "optimizer": "use pretrain.optimizer",
    "trainer.max_epochs": "use pretrain.trainer.max_epochs",
    "data.batch_size": "use pretrain.batch_size",
    "data.eval_batch_size": "use pretrain.batch_size",
    "data.augmentation": "use pretrain.masking",
    "encoder.freeze_layers": "pre-training trains all layers",
    "encoder.cache_frozen": "pre-training trains all layers",
    "encoder.insert": "pre-training trains the encoder without inserted modules",
    "encoder.reinit_layers": "pre-training starts with all layers of the checkpoint",
    **{
        f"monitor.{name}": f"use monitor.{', monitor.'.join(STEP_MONITORS)}"
        for name in ("attention", "representations", "confidence")
    },
}


def pretraining_problems(config: DictConfig, get: Callable[[str], Any]) -> Iterator[str]:
    """Yield one sentence per problem; ``get`` returns a value, or None if the key is absent or already reported."""
    fine_tunes = "model" in config
    data = config.get("data", {})
    if fine_tunes and "label_column" in data and data.label_column is None:
        yield "data.label_column=null: fine-tuning needs labels; name their column"
    if not config.get("pretrain"):
        if (file := get("data.unlabeled_file")) is not None:
            yield f"data.unlabeled_file={file}: pretrain=none reads no unlabeled texts; choose another, e.g. pretrain=mlm"
        if "pretrain" in config and not fine_tunes:
            yield "pretrain=none: leaves nothing to do; choose mlm, contrastive or mlm_contrastive"
        return
    yield from _losses(get)
    yield from _labels(get)


def _losses(get: Callable[[str], Any]) -> Iterator[str]:
    mlm, contrastive = get("pretrain.mlm_weight"), get("pretrain.contrastive_weight")
    if mlm == 0 and contrastive == 0:
        yield "pretrain.mlm_weight=0: pretrain.contrastive_weight is also 0, so nothing is trained; raise one of them"
    mask, random = get("pretrain.masking.mask_replace_prob"), get("pretrain.masking.random_replace_prob")
    if mask is not None and random is not None and mask + random > 1 + 1e-9:
        yield f"pretrain.masking.mask_replace_prob={mask}: exceeds 1 together with pretrain.masking.random_replace_prob={random}"
    if contrastive == 0 and (sizes := get("pretrain.projection_sizes")):
        yield f"pretrain.projection_sizes={sizes}: pretrain.contrastive_weight=0, so nothing would train them; set it to []"
    if not contrastive:
        return
    if get("pretrain.batch_size") == 1:
        yield f"pretrain.batch_size=1: pretrain.contrastive_weight={contrastive} needs other texts in a batch; raise it"
    rates = get("encoder.hidden_dropout"), get("encoder.attention_dropout")
    if get("pretrain.supervised") is False and rates == (0, 0):
        yield (
            f"encoder.hidden_dropout=0: pretrain.contrastive_weight={contrastive} compares two views of a text, which "
            "differ only by dropout; raise it, e.g. to 0.1"
        )


def _labels(get: Callable[[str], Any]) -> Iterator[str]:
    if not get("pretrain.supervised"):
        return
    if get("pretrain.contrastive_weight") == 0:
        yield "pretrain.supervised=True: pretrain.contrastive_weight=0, so no labels are read; set it to false"
    if (file := get("data.unlabeled_file")) is not None:
        yield f"pretrain.supervised=True: data.unlabeled_file={file} has no labels; turn one of them off"
    if get("pretrain.include_evaluation_texts"):
        yield (
            "pretrain.supervised=True: pretrain.include_evaluation_texts=true adds unlabeled texts; turn one of them off"
        )


def unread(config_name: str, overrides: Sequence[str]) -> list[str]:
    """Return one sentence for each override that ``bert_ft.pretrain`` would ignore."""
    if config_name != "pretrain":
        return []
    found = []
    for override in overrides:
        key = override_key(override)
        for name, instead in FINE_TUNING_ONLY.items():
            if key == name or key.startswith(f"{name}."):
                found.append(f"{key}: applies only to fine-tuning; {instead}")
    return found
