"""Copies the encoder of a pre-training stage into the classifier to fine-tune."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedModel

from bert_ft.errors import CheckpointError
from bert_ft.models.encoder import EncoderSpec
from bert_ft.models.inserted import is_inserted
from bert_ft.models.reinitialization import reinitialize

_ABOVE = ("pooler.", "head.")  # parts of an encoder that the stage lacks, and a classifier may have


def hand_over(folder: Path | str, encoder: PreTrainedModel, *, reinit_layers: int = 0) -> None:
    """Load the encoder saved in the Hugging Face folder ``folder`` into ``encoder``, in place, except for a pooler.

    ``encoder`` has the same family and shape, with or without a split embedding. Inserted modules, which the stage doesn't
    train, stay unchanged. ``reinit_layers`` of its highest layers are reinitialized afterwards.

    Raises:
        CheckpointError: the tensors of the folder aren't those of the encoder.
    """
    loaded = EncoderSpec(str(folder), kernels="plain").load().state_dict()
    state = {name: value for name, value in loaded.items() if not name.startswith(_ABOVE)}
    try:
        missing, unexpected = encoder.load_state_dict(state, strict=False)
    except RuntimeError as error:  # shapes
        raise CheckpointError(f"pretrain: the encoder in {folder} has a different shape: {error}") from error
    lacking = [name for name in missing if not name.startswith(_ABOVE) and not is_inserted(name)]
    if lacking or unexpected:
        raise CheckpointError(
            f"pretrain: the encoder in {folder} has {len(unexpected)} unexpected tensors and lacks {len(lacking)} "
            f"({', '.join([*unexpected, *lacking][:3])})"
        )
    reinitialize(encoder, reinit_layers)
