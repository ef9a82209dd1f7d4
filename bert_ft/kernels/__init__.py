"""What makes training on a CPU faster than torch's and transformers' own modules do, with the same mathematics."""
