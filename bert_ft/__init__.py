"""Fine-tune BERT-like encoders, see inside them, search their settings."""

__version__ = "0.1.0"
