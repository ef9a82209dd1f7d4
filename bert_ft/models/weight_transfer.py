"""The encoder of a pre-training stage put into the classifier that is to be fine-tuned."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedModel

from bert_ft.errors import CheckpointError
from bert_ft.models.encoder import EncoderSpec
from bert_ft.models.inserted import is_inserted
from bert_ft.models.reinitialization import reinitialize

_ABOVE = ("pooler.", "head.")  # of the encoder: the stage has none, and a classifier may


def hand_over(folder: Path | str, encoder: PreTrainedModel, *, reinit_layers: int = 0) -> None:
    """Load the encoder saved in ``folder`` into ``encoder``, in place; a tensor too many or too few is an error.

    A pooler and what is inserted, which the stage doesn't train, stay as they are.

    Args:
        folder: a Hugging Face folder.
        encoder: of the same family and shape, embedding rows split or not.
        reinit_layers: so many of the highest layers are drawn anew afterwards.

    Raises:
        CheckpointError: the folder holds no such encoder.
    """
    loaded = EncoderSpec(str(folder), kernels="plain").load().state_dict()
    state = {name: value for name, value in loaded.items() if not name.startswith(_ABOVE)}
    try:
        missing, unexpected = encoder.load_state_dict(state, strict=False)
    except RuntimeError as error:  # shapes
        raise CheckpointError(f"pretrain: the encoder in {folder} is of another shape: {error}") from error
    lacking = [name for name in missing if not name.startswith(_ABOVE) and not is_inserted(name)]
    if lacking or unexpected:
        raise CheckpointError(
            f"pretrain: the encoder in {folder} has {len(unexpected)} tensors too many and {len(lacking)} too few "
            f"({', '.join([*unexpected, *lacking][:3])})"
        )
    reinitialize(encoder, reinit_layers)
