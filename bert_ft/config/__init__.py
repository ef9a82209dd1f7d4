"""The configuration is checked here as a whole, and built from here only."""
