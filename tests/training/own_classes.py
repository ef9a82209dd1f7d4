"""A package from outside of ours with a class for each part of a run, and the settings that name them."""

PARTS = '''
import numpy as np
import torch
from torch import nn
from torchmetrics import Metric

from bert_ft.data.sources import Files

calls = []


class FirstAndMean(nn.Module):
    """Pooling."""

    def __init__(self, hidden_size, share=0.5):
        super().__init__()
        self.share = share
        self.scale = nn.Parameter(torch.ones(hidden_size))

    def forward(self, hidden, cu_seqlens):
        texts = hidden.split(cu_seqlens.diff().tolist())
        pooled = [self.share * text[0] + (1 - self.share) * text.mean(0) for text in texts]
        return torch.stack(pooled) * self.scale


class TwoLayers(nn.Sequential):
    """Head."""

    def __init__(self, hidden_size, num_labels, width=8):
        super().__init__(nn.Linear(hidden_size, width), nn.ReLU(), nn.Linear(width, num_labels))


class Brier(nn.Module):
    """Loss."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor = factor

    def forward(self, logits, labels):
        calls.append("loss")
        return self.factor * ((logits.softmax(-1) - nn.functional.one_hot(labels, logits.shape[1])) ** 2).mean()


class Center(Brier):
    """A loss that would have to be trained."""

    def __init__(self):
        super().__init__()
        self.center = nn.Parameter(torch.zeros(3))


class SignDescent(torch.optim.Optimizer):
    """Optimizer."""

    def __init__(self, params, lr, decay=0.0):
        super().__init__(params, {"lr": lr, "decay": decay, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure=None):
        with torch.enable_grad():
            loss = closure() if closure is not None else None
        calls.append("optimizer")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.add_(parameter.grad.sign(), alpha=-group["lr"])
        return loss


class ErrorRate(Metric):
    """Metric."""

    def __init__(self, num_classes, of_label=None):
        super().__init__()
        self.num_classes = num_classes
        self.of_label = of_label
        self.add_state("wrong", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("rows", torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, logits, labels):
        assert logits.shape[1] == self.num_classes
        counts = labels == (labels if self.of_label is None else self.of_label)
        self.wrong += ((logits.argmax(1) != labels) & counts).sum()
        self.rows += len(labels)

    def compute(self):
        return self.wrong / self.rows


class Noise:
    """Augmentation: some tokens become others, such as no training text has."""

    def __init__(self, share, num_tokens):
        self.share, self.num_tokens = share, num_tokens

    def __call__(self, ids, segments, mask_id, rng):
        other = rng.integers(5, self.num_tokens, size=len(ids))
        changed = (segments >= 0) & (rng.random(len(ids)) < self.share)
        return np.where(changed, other, ids), np.arange(len(ids))


class Counted(Files):
    """Source."""

    def load(self, cache_dir=None):
        calls.append("source")
        return super().load(cache_dir)
'''
TRUST = "trust=[my_package.*]"
OWN = {
    "pooling": ["model.pooling={_target_:my_package.parts.FirstAndMean,share:0.25}"],
    "head": ["~model.head", "+model.head={_target_:my_package.parts.TwoLayers,width:12}"],
    "loss": ["~loss", "+loss={_target_:my_package.parts.Brier,factor:2.0}"],
    "optimizer": [
        "~optimizer.algorithm",
        "+optimizer.algorithm={_target_:my_package.parts.SignDescent,_partial_:true}",
        "optimizer.lr=1e-3",
    ],
    "metric": ["+metrics.errors._target_=my_package.parts.ErrorRate"],
    "augmentation": [
        "~data.augmentation",
        "+data.augmentation={_target_:my_package.parts.Noise,share:0.1,num_tokens:70}",
    ],
    "source": ["data.source._target_=my_package.parts.Counted"],
}
EVERYTHING = [override for overrides in OWN.values() for override in overrides]
