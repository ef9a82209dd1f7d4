"""The encoder, the classifier on top of it, and the folder that is saved."""
