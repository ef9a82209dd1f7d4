"""Writes docs/families.md from the table of families: ``python -m tests.models.family_table``."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from transformers import AutoConfig

from bert_ft.models.encoder_config import type_of_model
from bert_ft.models.families import FAMILIES, Family
from bert_ft.models.refused_families import REFUSED

PAGE = Path(__file__).parents[2] / "docs" / "families.md"

TEXT = """# Families of encoders

Written by `python -m tests.models.family_table` from `bert_ft/models/families.py`; don't edit it by hand. The name is the
`model_type` in a checkpoint's `config.json` (DeBERTa v3 has the one of v2, and many models on the hub are of a family that
their names don't tell). `tests/models/test_families.py` tests each family with a tiny model of random weights: it trains,
gives a text the same prediction in any batch, is saved, reloaded and exported.

- **runs**: `packed` without padding, or `padded`; `tried` families run padded if a check finds that padding doesn't change
  the checkpoint's result, and are refused before the data is read otherwise.
- **bert_linear**, **masked LM**: whether `model=bert_linear` and `pretrain.mlm_weight` have its heads. `model=bert_residual`
  and contrastive pre-training take every family.
- **layers**: `optimizer.layer_decay` below 1, `encoder.freeze_layers`, `encoder.reinit_layers` and `unfreezing=gradual`.
- **cache**: `encoder.cache_frozen=true`, and the last layer computed for first tokens only.
- **recompute**: `encoder.gradient_checkpointing=true`.
- **16 bits**: `trainer.precision=16` or `bf16`.
- **ONNX**: `bert_ft.export`; `+` also with ONNX Runtime's own operators (`optimize=true`).

| family | runs | bert_linear | masked LM | layers | cache | recompute | 16 bits | ONNX |
|---|---|---|---|---|---|---|---|---|
{rows}

{notices}

## Not in the table

Any other encoder of transformers is tested when it is used. The check encodes texts of random tokens together and one by
one, without dropout. The encoder is refused with the reason, before the data is read, if a text gets different states in a
batch, if the first token doesn't depend on those after it, or if the encoder can't be run on texts only. If it passes, it
runs padded. `optimizer.layer_decay` has to be 1 unless its layers are named like those of a family above. With
`trainer.precision=16` it is also tested in 16 bits.

## Refused

{refused}
"""


def page() -> str:
    """The text of docs/families.md."""
    rows = "\n".join(_row(name, FAMILIES[name]) for name in sorted(FAMILIES))
    notices = "\n".join(f"`{name}` {row.notice}." for name, row in sorted(FAMILIES.items()) if row.notice)
    return TEXT.format(rows=rows, notices=notices, refused=_refused())


def _row(name: str, family: Family) -> str:
    kind = type_of_model(AutoConfig.for_model(name))
    runs = "packed" if family.packed else "tried" if family.is_checked else "padded"
    cells = [
        name,
        runs,
        _yes(family.classify is not None),
        _yes(family.predict_tokens is not None),
        "all or none" if family.shares_layers else "yes",
        _yes(family.has_bert_layers),
        _yes(kind.supports_gradient_checkpointing),
        _yes(family.trains_in_half),
        _yes(family.exports) + (" +" if family.ort_attention else ""),
    ]
    return f"| {' | '.join(cells)} |"


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


def _refused() -> str:
    by_reason = defaultdict(list)
    for name, reason in REFUSED.items():
        by_reason[reason].append(name)
    return "\n".join(f"- {', '.join(sorted(names))}: {reason}." for reason, names in by_reason.items())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
