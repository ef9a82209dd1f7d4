"""Test, before an encoder runs padded, whether it gives a text the same states in any batch."""

from __future__ import annotations

import numpy as np
import torch
from transformers import PretrainedConfig, PreTrainedModel

from bert_ft.data.packing import pack
from bert_ft.errors import ConfigError
from bert_ft.models.encoder_config import max_positions
from bert_ft.models.encoding import encode
from bert_ft.models.frozen import evaluating

_LENGTHS = (2, 3, 6, 11)  # even and odd, for kernels and strides
# Of the states' root mean square. Products of other shapes differ by rounding: by at most 3e-6 with the families of the
# table, and about ten times that with large encoders. Padding that is mixed in changes states by about 1.
_TOLERANCE = 1e-3
_REMEDY = "use an encoder listed in docs/families.md"


@torch.no_grad()
def check_padding(encoder: PreTrainedModel, name: str) -> None:
    """Raise ``ConfigError`` if the states of a text depend on the other texts of its batch.

    Texts of random tokens are encoded in one padded batch, and one by one, without dropout, in float32. Also
    refused is an encoder that needs more than texts, changes its result with token types of zeros, or reads
    from left to right.

    Args:
        encoder: the encoder, on the CPU, with the weights that will be used.
        name: the user's name for it.
    """
    who = f"encoder.name_or_path={name}: model type {encoder.config.model_type!r}"
    texts = _texts(encoder.config)
    try:
        with evaluating([encoder]):
            together = encode(encoder, pack(texts, range(len(texts))))[0].split(list(_LENGTHS))
            alone = [encode(encoder, pack([text], [0]))[0] for text in texts]
            changed = texts[1].copy()
            changed[-1] = texts[0][0]
            other = encode(encoder, pack([changed], [0]))[0]
            zeros = [0 * text for text in texts]
            typed = encode(encoder, pack(texts, range(len(texts)), token_type_ids=zeros))
    except Exception as error:  # an unknown family may raise anything
        raise ConfigError(f"{who} can't be run on texts only ({_first_line(error)}); {_REMEDY}") from error
    scale = torch.cat(alone).square().mean().sqrt()
    differences = [(one - two).abs().max() / scale for one, two in zip(together, alone, strict=True)]
    if not max(differences) <= _TOLERANCE:  # NaN is none
        fault = (
            "gives a text different states when its batch is padded: the relative difference is "
            f"{max(differences):.2g}, and "
            f"rounding explains at most {_TOLERANCE:g}. A prediction would depend on the other texts of its batch"
        )
    elif (typed[0] - torch.cat(together)).abs().max() / scale > _TOLERANCE:
        fault = (
            "gives a text different states with token types of zeros than without, but single texts have none"
        )
    elif (other[0] - alone[1][0]).abs().max() / scale <= _TOLERANCE:
        fault = "reads from left to right: the first token's state doesn't depend on the tokens after it"
    else:
        return
    raise ConfigError(f"{who} {fault}; {_REMEDY}")


def fault_in_half(encoder: PreTrainedModel) -> str | None:
    """Return the error of training the encoder in 16 bits; ``None`` if there is none."""
    try:
        with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16):
            batch = pack(_texts(encoder.config), range(len(_LENGTHS)))
            encode(encoder, batch)[0].float().square().mean().backward()
    except Exception as error:  # as above
        return _first_line(error)
    finally:
        encoder.zero_grad(set_to_none=True)
    return None


def _texts(config: PretrainedConfig) -> list[np.ndarray]:
    longest = max_positions(config) or max(_LENGTHS)
    rng = np.random.default_rng(0)
    padding = getattr(config, "pad_token_id", None) or 0
    tokens = np.setdiff1d(np.arange(config.vocab_size), [padding])
    return [rng.choice(tokens, size=min(length, longest), replace=False) for length in _LENGTHS]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
