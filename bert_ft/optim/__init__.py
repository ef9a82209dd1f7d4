"""How fast each parameter learns, and when. Pure: no Lightning, no Hydra."""
