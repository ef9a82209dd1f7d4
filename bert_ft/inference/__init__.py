"""From a saved folder to labels and probabilities. Never imports Lightning."""
