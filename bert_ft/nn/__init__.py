"""Pure torch: pooling, heads, losses. No transformers, no Lightning."""
