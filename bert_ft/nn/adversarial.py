"""FGM: the perturbation of the embeddings that raises the loss most, to first order."""

import torch
from torch import Tensor

from bert_ft.nn.precision import at_least_float32
from bert_ft.nn.segments import per_token, segment_max, segment_sum


def fgm_perturbation(gradient: Tensor, epsilon: float, cu_seqlens: Tensor) -> Tensor:
    """Return ``epsilon * gradient / norm``, with the L2 norm over all tokens and features of each sequence.

    ``gradient``, that of the loss with respect to the word embeddings, and the result are ``(num_tokens,
    hidden_size)``. The scale of the gradient cancels: it may include a loss scale, and its square may
    underflow float32 (the focal loss of a text that is classified with certainty). A sequence whose
    gradient is zero or overflowed isn't perturbed.

    Source: Miyato et al. 2017, arXiv 1605.07725.
    """
    gradient32 = at_least_float32(gradient.detach())
    # scale each sequence's largest value to about 1, by a power of 2 since that is exact; float32 holds up to 2 ** 127
    largest = segment_max(gradient32.abs().amax(-1), cu_seqlens)
    exponents = torch.frexp(per_token(largest, cu_seqlens, len(gradient))).exponent
    gradient32 = torch.ldexp(gradient32, -exponents.clamp(-126, 126)[:, None])
    norms = segment_sum(gradient32.square().sum(-1), cu_seqlens).sqrt()  # (num_sequences,)
    norms = per_token(norms, cu_seqlens, len(gradient))[:, None]  # (num_tokens, 1)
    direction = torch.where(norms.isfinite() & (norms > 0), gradient32 / norms, 0.0)
    return (epsilon * direction).to(gradient.dtype)
