"""Faster versions of torch's and transformers' modules for training on a CPU, with the same mathematics."""
