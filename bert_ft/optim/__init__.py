"""Which parameter learns how fast, and when. Pure: no Lightning, no Hydra."""
