"""The residual head: pooled vector -> residual blocks -> logits."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from bert_ft.limits import BelowOne, Count, within_limits


class ResidualBlock(nn.Module):
    """``skip(x) + Linear(Dropout(GELU(Linear(LayerNorm(x)))))``, ``(..., in_features)`` to ``(..., out_features)``.

    The last projection starts at zero, so the block starts as its skip: the identity, or, if the width changes, an
    orthogonal projection, which preserves the geometry of the features as far as the width allows.
    """

    def __init__(self, in_features: int, out_features: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(in_features)
        self.expand = nn.Linear(in_features, out_features)
        self.activation = nn.GELU()
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(out_features, out_features)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        self.skip: nn.Module = nn.Identity()
        if in_features != out_features:
            self.skip = nn.Linear(in_features, out_features, bias=False)
            nn.init.orthogonal_(self.skip.weight)

    def forward(self, features: Tensor) -> Tensor:
        hidden = self.dropout(self.activation(self.expand(self.norm(features))))
        return self.skip(features) + self.project(hidden)


class ResidualHead(nn.Module):
    """``(batch, in_features)`` to ``(batch, num_labels)``: a residual block for each hidden size, dropout, classifier.

    Without hidden sizes it is the plain head of Hugging Face's classifiers; with hidden sizes equal to ``in_features``
    it starts as that head.
    """

    @within_limits("model.head")
    def __init__(
        self, in_features: int, num_labels: int, hidden_sizes: Sequence[Count], dropout: BelowOne
    ) -> None:
        super().__init__()
        widths = [in_features, *hidden_sizes]
        self.blocks = nn.Sequential(*(ResidualBlock(*pair, dropout) for pair in pairwise(widths)))
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(widths[-1], num_labels)
        nn.init.normal_(self.classifier.weight, std=0.02)  # BERT's initializer_range
        nn.init.zeros_(self.classifier.bias)

    def forward(self, features: Tensor) -> Tensor:
        return self.classifier(self.dropout(self.blocks(features)))
