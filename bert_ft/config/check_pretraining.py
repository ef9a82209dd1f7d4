"""What can be wrong between settings of the pre-training stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from omegaconf import DictConfig

from bert_ft.config.rules import STEP_MONITORS

# Keys that come with groups which fine-tuning has, too, and which the stage alone doesn't read → what it does instead.
FINE_TUNING_ONLY = {
    "optimizer": "has pretrain.optimizer",
    "trainer.max_epochs": "has pretrain.trainer.max_epochs",
    "data.batch_size": "has pretrain.batch_size",
    "data.eval_batch_size": "has pretrain.batch_size",
    "data.augmentation": "has pretrain.masking",
    "encoder.freeze_layers": "trains all layers",
    "encoder.cache_frozen": "trains all layers",
    "encoder.insert": "trains the encoder as it is",
    "encoder.reinit_layers": "begins with all of the checkpoint's layers",
    **{
        f"monitor.{name}": f"has monitor.{', monitor.'.join(STEP_MONITORS)}"
        for name in ("attention", "representations", "confidence")
    },
}


def pretraining_problems(config: DictConfig, get: Callable[[str], Any]) -> Iterator[str]:
    """One sentence for each; ``get`` gives a value, or None where the key is absent or already reported."""
    fine_tunes = "model" in config
    if fine_tunes and "label_column" in config.get("data", {}) and get("data.label_column") is None:
        yield "data.label_column=null: fine-tuning needs labels; name their column"
    if not config.get("pretrain"):
        if (file := get("data.unlabeled_file")) is not None:
            yield f"data.unlabeled_file={file}: pretrain=none reads no unlabelled texts; choose a pretrain, e.g. mlm"
        if "pretrain" in config and not fine_tunes:
            yield "pretrain=none: nothing is left to do; choose mlm, contrastive or mlm_contrastive"
        return
    yield from _losses(get)
    yield from _labels(get)


def _losses(get: Callable[[str], Any]) -> Iterator[str]:
    mlm, contrastive = get("pretrain.mlm_weight"), get("pretrain.contrastive_weight")
    if mlm == 0 and contrastive == 0:
        yield "pretrain.mlm_weight=0: pretrain.contrastive_weight=0 too, so there is nothing to train; raise one of them"
    mask, random = get("pretrain.masking.mask_replace_prob"), get("pretrain.masking.random_replace_prob")
    if mask is not None and random is not None and mask + random > 1 + 1e-9:
        yield f"pretrain.masking.mask_replace_prob={mask}: with pretrain.masking.random_replace_prob={random} it is more than 1"
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
            "differ by dropout alone; raise it, e.g. to 0.1"
        )


def _labels(get: Callable[[str], Any]) -> Iterator[str]:
    if not get("pretrain.supervised"):
        return
    if get("pretrain.contrastive_weight") == 0:
        yield "pretrain.supervised=True: pretrain.contrastive_weight=0, so no labels are read; set it to false"
    if (file := get("data.unlabeled_file")) is not None:
        yield f"pretrain.supervised=True: data.unlabeled_file={file} has no labels; set one off"
    if get("pretrain.include_evaluation_texts"):
        yield (
            "pretrain.supervised=True: pretrain.include_evaluation_texts=true takes texts without labels; set one off"
        )


def unread(config_name: str, overrides: Sequence[str]) -> list[str]:
    """One sentence for each override that the stage alone would take no notice of."""
    if config_name != "pretrain":
        return []
    found = []
    for override in overrides:
        key = override.split("=")[0].lstrip("+~")
        for name, instead in FINE_TUNING_ONLY.items():
            if key == name or key.startswith(f"{name}."):
                found.append(f"{key}: is fine-tuning's; the pre-training stage {instead}")
    return found
