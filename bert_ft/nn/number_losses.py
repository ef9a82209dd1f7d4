"""Losses of predicted numbers; all in float32, also under autocast. ``logits`` and ``labels`` are ``(batch, num_targets)``."""

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from bert_ft.limits import Positive, within_limits
from bert_ft.nn.losses import RowLoss


class Huber(RowLoss):
    """Half the squared error up to ``delta``, linear beyond; numbers are in standard deviations of the training rows.

    Source: Huber 1964, "Robust Estimation of a Location Parameter".
    """

    target_kind: ClassVar[str] = "numbers"

    @within_limits("loss")
    def __init__(self, delta: Positive = 1.0) -> None:
        super().__init__()
        self.delta = delta

    def per_row(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each row, the mean over its targets, ``(batch,)``."""
        losses = F.huber_loss(logits, labels.to(logits.dtype), delta=self.delta, reduction="none")
        return losses.mean(1)


def gaussian_loss(predicted: Tensor, log_variance: Tensor, labels: Tensor) -> Tensor:
    """Return the negative log-likelihood of a Gaussian without its constant, of the shape of the arguments, in nats.

    Source: Nix and Weigend 1994, "Estimating the mean and variance of the target probability distribution".
    """
    return (log_variance + (labels - predicted).square() * (-log_variance).exp()) / 2
