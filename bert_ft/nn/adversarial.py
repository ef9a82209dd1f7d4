"""FGM: the perturbation of the embeddings that raises the loss the most, to first order."""

import torch
from torch import Tensor

from bert_ft.nn.precision import at_least_float32
from bert_ft.nn.segments import per_token, segment_sum


def fgm_perturbation(gradient: Tensor, epsilon: float, cu_seqlens: Tensor) -> Tensor:
    """``epsilon * gradient / norm``, the L2 norm taken over all tokens and features of each sequence.

    ``gradient`` of the loss in the word embeddings and the result are ``(num_tokens, hidden_size)``.
    The scale of the gradient cancels, so it may come with a loss scale. A sequence whose gradient is
    zero, or too large for float16, isn't perturbed.

    Source: Miyato et al. 2017, arXiv 1605.07725.
    """
    gradient32 = at_least_float32(gradient.detach())
    squares = gradient32.square().sum(-1)  # (num_tokens,)
    norms = segment_sum(squares, cu_seqlens).sqrt().clamp(min=torch.finfo(gradient32.dtype).tiny)
    norms_of_tokens = per_token(norms, cu_seqlens, len(gradient))[:, None]
    direction = torch.where(norms_of_tokens.isfinite(), gradient32 / norms_of_tokens, 0.0)
    return (epsilon * direction).to(gradient.dtype)
