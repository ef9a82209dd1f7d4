"""Sources to rows to ids to packed batches. Pure: no Lightning, no Hydra."""
