"""The default learning rate for fine-tuning an encoder of a given size (``optimizer.lr=null``)."""

from __future__ import annotations

_WIDTH, _DEPTH, _LR = (
    768,
    12,
    1e-4,
)  # BERT-base, measured; MiniLM (384 wide, 6 layers) follows: 2e-4, measured as well
# the highest and lowest rates in published grids: Turc et al. 2019, arXiv 1908.08962 (BERT of 2 layers and more), and
# Liu et al. 2019, arXiv 1907.11692 (RoBERTa-large)
_HIGHEST, _LOWEST = 3e-4, 1e-5


def default_lr(hidden_size: int, num_layers: int) -> float:
    """Return 1e-4 · ∛((768 / hidden_size) · (12 / num_layers)²), within 1e-5 and 3e-4, rounded to two digits.

    The two measured encoders differ by a factor of two in width and depth, and by two in their best rate, so the exponents
    add up to one. Depth has two thirds: an encoder of 24 layers, 1024 wide, then gets 5.7e-5, next to the highest rate of
    its authors' grid (Devlin et al. 2019, arXiv 1810.04805: 2e-5 to 5e-5).
    """
    lr = _LR * (_WIDTH / hidden_size * (_DEPTH / num_layers) ** 2) ** (1 / 3)
    return float(f"{min(max(lr, _LOWEST), _HIGHEST):.1e}")
