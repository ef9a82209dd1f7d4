"""FGM: the perturbation of the embeddings that raises the loss the most, to first order."""

import torch
from torch import Tensor

from bert_ft.nn.precision import at_least_float32
from bert_ft.nn.segments import per_token, segment_max, segment_sum


def fgm_perturbation(gradient: Tensor, epsilon: float, cu_seqlens: Tensor) -> Tensor:
    """``epsilon * gradient / norm``, the L2 norm taken over all tokens and features of each sequence.

    ``gradient`` of the loss in the word embeddings and the result are ``(num_tokens, hidden_size)``.
    The scale of the gradient cancels, so it may come with a loss scale, and be so small that float32 doesn't hold its
    square (a focal loss of a text that is certain). A sequence whose gradient is zero, or too large for float16, isn't
    perturbed.

    Source: Miyato et al. 2017, arXiv 1605.07725.
    """
    gradient32 = _scaled_to_one(at_least_float32(gradient.detach()), cu_seqlens)
    squares = gradient32.square().sum(-1)  # (num_tokens,)
    norms = segment_sum(squares, cu_seqlens).sqrt()
    norms_of_tokens = per_token(norms, cu_seqlens, len(gradient))[:, None]
    has_direction = norms_of_tokens.isfinite() & (norms_of_tokens > 0)
    direction = torch.where(has_direction, gradient32 / norms_of_tokens, 0.0)
    return (epsilon * direction).to(gradient.dtype)


def _scaled_to_one(gradient: Tensor, cu_seqlens: Tensor) -> Tensor:
    """Multiply each sequence's gradient by a power of 2, which is exact, so that its largest value is about 1."""
    largest = segment_max(gradient.abs().amax(-1), cu_seqlens)
    exponents = torch.frexp(per_token(largest, cu_seqlens, len(gradient))).exponent
    # 2 ** 127 is the largest power of float32
    return torch.ldexp(gradient, -exponents.clamp(-126, 126)[:, None])
