"""From a checked configuration and a folder to a stage of training."""
