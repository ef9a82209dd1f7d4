"""The Lightning side: data module, training module, the run itself."""
