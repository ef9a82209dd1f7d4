"""Fine-tune BERT-like encoders, inspect them, and search for their best settings."""

__version__ = "0.1.0"
